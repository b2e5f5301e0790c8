package lint

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/rescind/rescind/lint/program"
)

// The limits of one run.
const (
	MaxFiles     = 20_000
	MaxFileSize  = 1 << 20 // bytes; larger files are generated
	maxTotal     = 512 << 20
	parseTimeout = 20 * time.Second // of one file
	maxConfig    = 1 << 20
	// All rules on all files take seconds; source made to take longer is given up.
	examineTimeout = 5 * time.Minute
)

// Folders that hold what others wrote, or what was generated. They are left out
// where they lie beneath a path; a path that is named itself is read.
var foreign = map[string]bool{
	"node_modules": true, "bower_components": true, "vendor": true, "third_party": true, "site-packages": true, "dist": true, "build": true,
	"out": true, "coverage": true, "target": true, "__pycache__": true, "venv": true, "env": true, "virtualenv": true, "migrations": true,
	"public": true, "static": true, "assets": true,
}

var tests = regexp.MustCompile(`(?i)(^|/)(tests?|__tests__|__mocks__|e2e|spec|specs|testdata|fixtures|cypress)/|` +
	`_test\.go$|(^|/)(test_[^/]*|[^/]*_test|conftest)\.py$|\.(test|spec|e2e-spec|stories)\.[cm]?[jt]sx?$`)

var generated = regexp.MustCompile(`(?i)\.min\.[cm]?js$|\.bundle\.js$|\.d\.[cm]?ts$|\.pb\.go$|_pb2(_grpc)?\.py$|(^|/)bindata\.go$`)

// A FileError is a file that was not read, or not as a whole.
type FileError struct {
	Path    string
	Line    int // 0 if it is about the whole file
	Message string
	Whole   bool // nothing of it was read
}

// sources are the files to be read, by absolute path with slashes.
type sources struct {
	names   []string
	disk    bool
	text    map[string][]byte // without disk
	dirs    map[string][]string
	present map[string]bool
	configs sync.Map // what Config has read of the disk: imports ask for it again and again
}

var _ program.Tree = (*sources)(nil)

func (s *sources) Has(name string) bool { return s.present[name] }

func (s *sources) Files(dir string) []string { return s.dirs[dir] }

// Configs that front-ends may ask for.
var configs = map[string]bool{"go.mod": true, "package.json": true, "tsconfig.json": true, "jsconfig.json": true, "pyproject.toml": true, "setup.cfg": true}

func (s *sources) Config(name string) []byte {
	if !s.disk {
		return s.text[name]
	}
	if !configs[path.Base(name)] && !strings.HasPrefix(path.Base(name), "tsconfig.") {
		return nil
	}
	if data, ok := s.configs.Load(name); ok {
		return data.([]byte)
	}
	data := readConfig(filepath.FromSlash(name))
	s.configs.Store(name, data)
	return data
}

// readConfig gives nothing of what cannot be read, as if it were not there: imports
// that need it lie outside then.
func readConfig(file string) []byte {
	if info, err := os.Lstat(file); err != nil || !info.Mode().IsRegular() || info.Size() > maxConfig {
		return nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		return nil
	}
	return data
}

func (s *sources) read(name string) ([]byte, error) {
	if !s.disk {
		return s.text[name], nil
	}
	return os.ReadFile(filepath.FromSlash(name))
}

func (s *sources) index() {
	slices.Sort(s.names)
	s.names = slices.Compact(s.names)
	s.present, s.dirs = map[string]bool{}, map[string][]string{}
	for _, n := range s.names {
		s.present[n] = true
		s.dirs[path.Dir(n)] = append(s.dirs[path.Dir(n)], n)
	}
}

// errLimit says that there is too much.
var errLimit = errors.New("too many files")

// collect finds the files beneath paths that have one of the extensions.
func collect(ctx context.Context, o *Options, extensions map[string]program.Frontend) (*sources, int, []FileError, error) {
	s := &sources{disk: true}
	var failed []FileError
	skipped, total := 0, int64(0)
	for _, named := range o.Paths {
		root, err := filepath.Abs(named)
		if err == nil {
			root, err = filepath.EvalSymlinks(root)
		}
		if err != nil {
			return nil, 0, nil, err
		}
		err = filepath.WalkDir(root, func(file string, d fs.DirEntry, err error) error {
			if ctx.Err() != nil {
				return ctx.Err()
			}
			if err != nil {
				failed = append(failed, FileError{Path: filepath.ToSlash(file), Message: reason(err), Whole: true})
				if d != nil && d.IsDir() {
					return fs.SkipDir
				}
				return nil
			}
			rel, err := filepath.Rel(root, file)
			if err != nil {
				return err
			}
			rel = filepath.ToSlash(rel)
			itself := rel == "."
			if d.IsDir() {
				if !itself && (foreign[strings.ToLower(d.Name())] || strings.HasPrefix(d.Name(), ".") || o.excludes(rel+"/", d.Name()) || !o.Tests && tests.MatchString(rel+"/")) {
					return fs.SkipDir
				}
				return nil
			}
			if extensions[path.Ext(d.Name())] == nil || !d.Type().IsRegular() {
				return nil // links among them: what they lead to is read where it lies
			}
			if !itself && (o.excludes(rel, d.Name()) || generated.MatchString(rel) || !o.Tests && tests.MatchString(rel)) {
				return nil
			}
			info, err := d.Info()
			if err != nil {
				failed = append(failed, FileError{Path: filepath.ToSlash(file), Message: reason(err), Whole: true})
				return nil
			}
			if info.Size() > MaxFileSize {
				skipped++
				failed = append(failed, FileError{Path: filepath.ToSlash(file), Message: fmt.Sprintf("not read: it is larger than %d bytes", MaxFileSize)})
				return nil
			}
			if total += info.Size(); len(s.names) >= MaxFiles || total > maxTotal {
				return errLimit
			}
			s.names = append(s.names, filepath.ToSlash(file))
			return nil
		})
		if errors.Is(err, errLimit) {
			return nil, 0, nil, fmt.Errorf("%s: more than %d files or %d MB of source: name smaller folders, or leave some out", named, MaxFiles, maxTotal>>20)
		}
		if err != nil {
			return nil, 0, nil, err
		}
	}
	s.index()
	return s, skipped, failed, nil
}

func (o *Options) excludes(rel, name string) bool {
	for _, glob := range o.Exclude {
		glob = strings.TrimSuffix(glob, "/")
		rel := strings.TrimSuffix(rel, "/")
		// The pattern was checked before: it cannot be malformed.
		if ok, _ := path.Match(glob, name); ok {
			return true
		}
		if ok, _ := path.Match(glob, rel); ok {
			return true
		}
		if dir, ok := strings.CutSuffix(glob, "/**"); ok && (rel == dir || strings.HasPrefix(rel, dir+"/")) {
			return true
		}
	}
	return false
}

func reason(err error) string {
	if p := (*fs.PathError)(nil); errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// minified reports source that nobody wrote: its lines are too long.
func minified(text []byte) bool {
	return len(text) > 10_000 && len(text)/(bytes.Count(text, []byte("\n"))+1) > 300
}
