package docs

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
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

func TestOperateNamesEverySettingAndMetric(t *testing.T) {
	text := file(t, "docs/operate.md")
	r := bench(t)
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
