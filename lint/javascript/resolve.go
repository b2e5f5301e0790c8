package javascript

import (
	"encoding/json"
	"path"
	"slices"
	"strings"

	"github.com/rescind/rescind/lint/program"
)

// Endings that an import may leave out, in the order in which they are tried.
var endings = []string{".ts", ".tsx", ".mts", ".cts", ".js", ".jsx", ".mjs", ".cjs"}

// What an import of a compiled file stands for in the source.
var sources = map[string][]string{".js": {".ts", ".tsx"}, ".jsx": {".tsx"}, ".mjs": {".mts"}, ".cjs": {".cts"}}

// Resolve implements [program.Frontend]: relative modules, those that tsconfig.json
// maps by paths or baseUrl, imports of package.json, packages of the same workspace,
// and the usual @/ and ~/ for the folder src.
func (*Frontend) Resolve(tree program.Tree, from *program.File, module string) []string {
	dir := path.Dir(from.Path)
	found := func(at string) []string {
		if file, ok := lookup(tree, at); ok && file != from.Path {
			return []string{file}
		}
		return nil
	}
	switch {
	case module == "" || strings.HasPrefix(module, "node:"):
		return nil
	case strings.HasPrefix(module, "."):
		return found(path.Join(dir, module))
	case strings.HasPrefix(module, "/"):
		return nil
	}
	for above := dir; ; above = path.Dir(above) {
		for _, at := range mapped(tree, above, module) {
			if files := found(at); files != nil {
				return files
			}
		}
		if rest, ok := cutAny(module, "@/", "~/"); ok {
			for _, at := range []string{path.Join(above, "src", rest), path.Join(above, rest)} {
				if files := found(at); files != nil {
					return files
				}
			}
		}
		if strings.HasPrefix(module, "src/") {
			if files := found(path.Join(above, module)); files != nil {
				return files
			}
		}
		for _, at := range neighbour(tree, above, module) {
			if files := found(at); files != nil {
				return files
			}
		}
		if above == path.Dir(above) {
			return nil
		}
	}
}

func cutAny(s string, prefixes ...string) (string, bool) {
	for _, prefix := range prefixes {
		if rest, ok := strings.CutPrefix(s, prefix); ok {
			return rest, true
		}
	}
	return s, false
}

// lookup finds the file of a path without its ending, or of a folder.
func lookup(tree program.Tree, at string) (string, bool) {
	if tree.Has(at) {
		return at, true
	}
	ending := path.Ext(at)
	for _, other := range sources[ending] {
		if file := strings.TrimSuffix(at, ending) + other; tree.Has(file) {
			return file, true
		}
	}
	for _, base := range []string{at, path.Join(at, "index")} {
		for _, e := range endings {
			if tree.Has(base + e) {
				return base + e, true
			}
		}
	}
	if main := readPackage(tree, at).Main; main != "" && !strings.HasPrefix(main, ".."+"/") {
		if file := path.Join(at, main); tree.Has(file) {
			return file, true
		}
	}
	return "", false
}

type manifest struct {
	Name, Main string
	Imports    map[string]any
}

func readPackage(tree program.Tree, dir string) manifest {
	var m manifest
	// What is not as it should be says nothing, as if it were not there.
	if err := json.Unmarshal(tree.Config(path.Join(dir, "package.json")), &m); err != nil {
		return manifest{}
	}
	return m
}

// neighbour is where a package of the same workspace has its source.
func neighbour(tree program.Tree, dir, module string) []string {
	parts := strings.SplitN(module, "/", 3)
	name, inner := parts[0], strings.Join(parts[1:], "/")
	folder := name
	if strings.HasPrefix(name, "@") && len(parts) > 1 {
		name, folder, inner = parts[0]+"/"+parts[1], parts[1], strings.Join(parts[2:], "/")
	}
	for _, group := range []string{"packages", "libs", "apps", "services"} {
		if at := path.Join(dir, group, folder); readPackage(tree, at).Name == name {
			return []string{path.Join(at, "src", inner), path.Join(at, inner), path.Join(at, "lib", inner)}
		}
	}
	return nil
}

// mapped is where the configuration of a folder puts a module.
func mapped(tree program.Tree, dir, module string) []string {
	var found []string
	if strings.HasPrefix(module, "#") {
		for pattern, to := range readPackage(tree, dir).Imports {
			if target, ok := to.(map[string]any); ok {
				to = target["default"]
			}
			if target, ok := to.(string); ok {
				found = append(found, substitute(dir, pattern, target, module)...)
			}
		}
		return found
	}
	for _, name := range []string{"tsconfig.json", "jsconfig.json", "tsconfig.base.json"} {
		c := readConfig(tree, path.Join(dir, name), 0)
		// The longest pattern that fits wins.
		patterns := make([]string, 0, len(c.paths))
		for pattern := range c.paths {
			patterns = append(patterns, pattern)
		}
		slices.SortFunc(patterns, func(a, b string) int { return len(b) - len(a) })
		for _, pattern := range patterns {
			for _, target := range c.paths[pattern] {
				found = append(found, substitute(c.pathsFrom, pattern, target, module)...)
			}
		}
		if c.base != "" {
			found = append(found, path.Join(c.base, module))
		}
	}
	return found
}

func substitute(dir, pattern, target, module string) []string {
	before, after, star := strings.Cut(pattern, "*")
	if !star {
		if pattern == module {
			return []string{path.Join(dir, target)}
		}
		return nil
	}
	if len(module) < len(before)+len(after) || !strings.HasPrefix(module, before) || !strings.HasSuffix(module, after) {
		return nil
	}
	return []string{path.Join(dir, strings.Replace(target, "*", module[len(before):len(module)-len(after)], 1))}
}

// config is what a tsconfig.json says of modules.
type config struct {
	base      string // "" without baseUrl
	paths     map[string][]string
	pathsFrom string
}

func readConfig(tree program.Tree, name string, depth int) config {
	var read struct {
		Extends         any
		CompilerOptions struct {
			BaseURL *string
			Paths   map[string][]string
		}
	}
	raw := tree.Config(name)
	if raw == nil || depth > 5 || json.Unmarshal(plain(raw), &read) != nil {
		return config{}
	}
	var c config
	dir := path.Dir(name)
	extends, _ := read.Extends.([]any)
	if one, ok := read.Extends.(string); ok {
		extends = []any{one}
	}
	for _, e := range extends {
		parent, ok := e.(string)
		if !ok || !strings.HasPrefix(parent, ".") {
			continue // of a package
		}
		if path.Ext(parent) != ".json" {
			parent += ".json"
		}
		c = readConfig(tree, path.Join(dir, parent), depth+1)
	}
	if read.CompilerOptions.BaseURL != nil {
		c.base = path.Join(dir, *read.CompilerOptions.BaseURL)
	}
	if read.CompilerOptions.Paths != nil {
		c.paths, c.pathsFrom = read.CompilerOptions.Paths, dir
		if read.CompilerOptions.BaseURL != nil {
			c.pathsFrom = c.base
		}
	}
	return c
}

// plain makes JSON of what tsconfig.json may be: with comments, and commas at the
// end.
func plain(text []byte) []byte {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '"':
			end := i + 1
			for end < len(text) && text[end] != '"' {
				if text[end] == '\\' {
					end++
				}
				end++
			}
			out = append(out, text[i:min(end+1, len(text))]...)
			i = end
		case c == '/' && i+1 < len(text) && text[i+1] == '/':
			for i < len(text) && text[i] != '\n' {
				i++
			}
		case c == '/' && i+1 < len(text) && text[i+1] == '*':
			end := strings.Index(string(text[i+2:]), "*/")
			if end < 0 {
				return out
			}
			i += 2 + end + 1
		case c == '}' || c == ']':
			for len(out) > 0 && strings.IndexByte(" \t\r\n", out[len(out)-1]) >= 0 {
				out = out[:len(out)-1]
			}
			out = append(trimComma(out), c)
		default:
			out = append(out, c)
		}
	}
	return out
}

func trimComma(text []byte) []byte {
	if len(text) > 0 && text[len(text)-1] == ',' {
		return text[:len(text)-1]
	}
	return text
}
