package gateways

import (
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// The guide shows what is tested, and nothing else.
func TestTheGuideShowsTheseFiles(t *testing.T) {
	page, err := os.ReadFile("../../docs/gateways.md")
	must(t, err)
	files := 0
	must(t, filepath.WalkDir(folder, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		if name, err := filepath.Rel(folder, path); err != nil || !strings.Contains(string(page), "(../gateways/"+filepath.ToSlash(name)+")") && name != "rescind.yaml" {
			t.Errorf("docs/gateways.md has no link to %s (%v)", name, err)
		}
		if strings.HasSuffix(path, "envoy/http.yaml") {
			return nil // nearly the other one of Envoy's
		}
		text, err := os.ReadFile(path)
		if err == nil && !strings.Contains(string(page), "\n"+string(text)+"```\n") {
			t.Errorf("docs/gateways.md does not show %s as it is", path)
		}
		return err
	}))
	if files < 9 {
		t.Errorf("%d files are not all configurations", files)
	}
}
