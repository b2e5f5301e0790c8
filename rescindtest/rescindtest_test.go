package rescindtest_test

import (
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/rescindtest"
)

func TestStartServesAWholeServer(t *testing.T) {
	s := rescindtest.Start(t)
	g := s.Login(t, rescind.Login{Subject: "alice"})
	r, err := http.NewRequest("POST", s.URL+"/oauth/introspect", strings.NewReader(url.Values{"token": {g.AccessToken.Reveal()}}.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth(s.App.ID, s.App.Secret)
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		t.Fatalf("status %d", answer.StatusCode)
	}
}
