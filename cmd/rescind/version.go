package main

import (
	"runtime"
	"runtime/debug"

	"github.com/spf13/cobra"
)

// buildInfo is what the binary knows of itself.
type buildInfo struct {
	Version  string `json:"version"`
	Revision string `json:"revision,omitempty"`
	Modified bool   `json:"modified,omitempty"` // built from files that were not committed
	Go       string `json:"go"`
	Platform string `json:"platform"`
}

func readBuild() buildInfo {
	b := buildInfo{Version: "unknown", Go: runtime.Version(), Platform: runtime.GOOS + "/" + runtime.GOARCH}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return b
	}
	b.Version = or(info.Main.Version, "(devel)")
	for _, s := range info.Settings {
		switch s.Key {
		case "vcs.revision":
			b.Revision = s.Value
		case "vcs.modified":
			b.Modified = s.Value == "true"
		}
	}
	return b
}

func (c *cli) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use:     "version",
		Short:   "Print the version of this binary",
		Example: "  rescind version\n  rescind version --json",
		Args:    exactly(),
		RunE: func(*cobra.Command, []string) error {
			b := readBuild()
			if c.out.json {
				return c.out.emit(b)
			}
			revision := ""
			if b.Revision != "" {
				revision = ", " + b.Revision
				if b.Modified {
					revision += " and changes"
				}
			}
			return c.out.printf("rescind %s%s (%s, %s)\n", b.Version, revision, b.Go, b.Platform)
		},
	}
}
