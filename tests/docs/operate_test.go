package docs

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/rescind/rescind"
	"github.com/rescind/rescind/httpapi"
)

var (
	yamlKey = regexp.MustCompile(`(?m)^ *([a-z_]+):`)
	metric  = regexp.MustCompile(`"(rescind_[a-z_]+)"`)
	flag    = regexp.MustCompile(`\((--[a-z-]+)(?:, (RESCIND_[A-Z_]+))?\)`)
)

// unnamed returns those of names that do not stand in text as code.
func unnamed(text string, names [][]string) []string {
	var missing []string
	for _, match := range names {
		for _, name := range match[1:] {
			if name != "" && !strings.Contains(text, "`"+name+"`") {
				missing = append(missing, name)
			}
		}
	}
	return missing
}

// testSettings holds docs/operate.md against what rescind and its code name.
func testSettings(t *testing.T, r *runner) {
	text := file(t, "docs/operate.md")
	cmd := exec.Command(filepath.Join(r.dir, "bin", "rescind"), "serve", "--print-config")
	cmd.Env = environment()
	printed, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	names := yamlKey.FindAllStringSubmatch(string(printed), -1)
	flags := flag.FindAllStringSubmatch(strings.ReplaceAll(string(printed), "\n# ", " "), -1)
	metrics := metric.FindAllStringSubmatch(file(t, "httpapi/metrics.go"), -1)
	if len(names) < 30 || len(flags) < 10 || len(metrics) < 10 {
		t.Fatalf("%d keys, %d flags, %d metrics: something was not read", len(names), len(flags), len(metrics))
	}
	for _, found := range [][][]string{names, flags, metrics} {
		if missing := unnamed(text, found); len(missing) > 0 {
			t.Errorf("docs/operate.md does not name %q", missing)
		}
	}
	if missing := unnamed(text, [][]string{{"", "no_such_setting", "listen"}}); len(missing) != 1 {
		t.Errorf("a setting that is not named was not noticed: %q", missing)
	}
}

// TestOperateSaysTheLimitsInForce holds the page's table against the code.
func TestOperateSaysTheLimitsInForce(t *testing.T) {
	text := file(t, "docs/operate.md")
	server := httpapi.Server(nil)
	seconds := func(d time.Duration) string { return fmt.Sprintf("%d s", d/time.Second) }
	const kib, day = 1 << 10, 24 * time.Hour
	for _, row := range []string{
		fmt.Sprintf("a form or JSON body; a query string | %d KiB; %d KiB; %d KiB |", server.MaxHeaderBytes/kib, max(httpapi.MaxForm, httpapi.MaxJSON)/kib, httpapi.MaxQuery/kib),
		fmt.Sprintf("| parameters of a form or query | %d, each once |", httpapi.MaxParameters),
		fmt.Sprintf("| a token | %d KiB |", rescind.MaxToken/kib),
		strings.Join([]string{seconds(server.ReadHeaderTimeout), seconds(httpapi.DefaultBodyTimeout), seconds(server.ReadTimeout), seconds(server.WriteTimeout), seconds(server.IdleTimeout)}, "; "),
		fmt.Sprintf("| subject | %d bytes", rescind.MaxSubject),
		fmt.Sprintf("| audiences of a session; each | %d; %d bytes |", rescind.MaxAudiences, rescind.MaxAudience),
		fmt.Sprintf("| scope | %d bytes |", rescind.MaxScope),
		fmt.Sprintf("| claims | %d bytes of JSON", rescind.MaxClaims),
		fmt.Sprintf("| device: name, user agent, IP | %d bytes each", rescind.MaxDeviceField),
		fmt.Sprintf("| reason of a revocation | %d bytes", rescind.MaxReason),
		fmt.Sprintf("| live access tokens of a session | %d;", rescind.MaxAccessEntries),
		fmt.Sprintf("| %s to %d h; 1 s to %d d |", seconds(rescind.MinAccess), rescind.MaxAccessLifetime/time.Hour, rescind.MaxLifetime/day),
		fmt.Sprintf("| grace window | %d min |", rescind.MaxGrace/time.Minute),
		fmt.Sprintf("| secret of a client | %d to 256 characters |", rescind.MinSecret),
	} {
		if !strings.Contains(text, row) {
			t.Errorf("docs/operate.md does not say %q", row)
		}
	}
}
