package targets

import (
	"net/http"
	"testing"
	"time"
)

// TestHostileServersAreHostile sees that every trap is sprung by requests that
// somebody sends by hand.
func TestHostileServersAreHostile(t *testing.T) {
	names := map[string]bool{}
	for _, h := range Hostiles() {
		if names[h.Name] {
			t.Errorf("%q is there twice", h.Name)
		}
		names[h.Name] = true
		t.Run(h.Name, func(t *testing.T) {
			t.Parallel()
			trap := h.Spring(t)
			header := http.Header{}
			if h.Inside {
				header.Set("Authorization", "Bearer "+trap.Login(t, "ada").Access)
			}
			client := &http.Client{Timeout: 200 * time.Millisecond, CheckRedirect: stay}
			paths := map[string]string{"POST /login": "POST", "GET /api/me": "GET", "GET /api/notes": "GET", "POST /refresh": "POST", "POST /logout": "POST",
				"GET /socket": "GET", "GET /events": "GET"}
			for line, method := range paths {
				if h.At != "" && line != h.At {
					continue
				}
				deadline := time.Now().Add(time.Minute)
				for sprung := trap.Sprung.Load() + int64(h.After); trap.Sprung.Load() <= sprung && time.Now().Before(deadline); {
					r, err := http.NewRequestWithContext(t.Context(), method, trap.URLs[0]+line[len(method)+1:], nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Header = header
					if response, err := client.Do(r); err == nil {
						_ = response.Body.Close() // most have no good end
					}
				}
			}
			if trap.Sprung.Load() <= int64(h.After) {
				t.Error("it does no harm")
			}
			if trap.Strange.Load() != 0 {
				t.Error("hands follow nothing")
			}
		})
	}
}
