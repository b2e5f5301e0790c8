// Package syntax parses JavaScript, TypeScript and Python into plain trees.
//
// The parser is tree-sitter with its grammars, in C, compiled to one WebAssembly
// module that lies here (wasm/build makes it; wasm/SOURCES names what from) and
// runs in this process. The module imports nothing: whatever a file makes it do,
// it reaches no file, no network and no clock, and only the memory that it got.
package syntax

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"math"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/tetratelabs/wazero"
)

// A Language is one that can be parsed. JSX is part of JavaScript and of TSX.
type Language uint32

// The numbers are those of wasm/shim.c.
const (
	JavaScript Language = iota
	TypeScript
	TSX
	Python
	languages
)

func (l Language) String() string {
	switch l {
	case JavaScript:
		return "JavaScript"
	case TypeScript:
		return "TypeScript"
	case TSX:
		return "TSX"
	case Python:
		return "Python"
	}
	return fmt.Sprintf("language %d", uint32(l))
}

// Of says what language the name of a file stands for.
func Of(name string) (Language, bool) {
	switch path.Ext(name) {
	case ".js", ".mjs", ".cjs", ".jsx":
		return JavaScript, true
	case ".ts", ".mts", ".cts":
		return TypeScript, true
	case ".tsx":
		return TSX, true
	case ".py", ".pyi":
		return Python, true
	}
	return 0, false
}

// Limits bound what one file may cost. Those that are zero have the value that
// stands beside them.
type Limits struct {
	Size   int           // bytes of a file: 2 MiB
	Nodes  int           // of a tree: 1,000,000, which take 130 MB for the time of parsing
	Depth  int           // nodes within nodes: 5,000
	Memory int           // bytes that one parse may take within the module, in whole pages of 64 KiB: 256 MiB
	Time   time.Duration // 10 s
}

// Why a file has no tree. Files that merely have errors in them do have one.
var (
	ErrTooLarge = errors.New("too large to parse")
	ErrTooDeep  = errors.New("nested too deeply")
	ErrTooLong  = errors.New("takes too long to parse")
	ErrGaveUp   = errors.New("the parser gave up, most likely for want of memory")
)

//go:embed wasm/tree-sitter.wasm.gz
var module []byte

const (
	pageSize = 64 << 10
	// An instance that has grown beyond this is not kept: its memory never shrinks.
	keptPages = 64 << 20 / pageSize
	keptIdle  = 16
)

// A Parser parses any number of files at a time. It compiles the module when the
// first file comes, which takes part of a second, and keeps what that took until
// Close.
type Parser struct {
	limits Limits

	mu      sync.Mutex
	closed  bool
	runtime wazero.Runtime
	code    wazero.CompiledModule
	names   [languages]*names
	idle    []*instance
}

// NewParser costs nothing yet.
func NewParser(limits Limits) *Parser {
	return &Parser{limits: Limits{
		Size:   cmp.Or(limits.Size, 2<<20),
		Nodes:  min(cmp.Or(limits.Nodes, 1_000_000), math.MaxInt32),
		Depth:  cmp.Or(limits.Depth, 5000),
		Memory: cmp.Or(limits.Memory, 256<<20),
		Time:   cmp.Or(limits.Time, 10*time.Second),
	}}
}

// Parse makes a tree of source, which must not change from then on. It answers
// for every text: errors are those above, the context's, and those of a Parser
// that is closed or cannot run here.
func (p *Parser) Parse(ctx context.Context, language Language, source []byte) (*Tree, error) {
	if language >= languages {
		return nil, fmt.Errorf("parse: there is no %v", language)
	}
	if len(source) > p.limits.Size {
		return nil, fmt.Errorf("%w: %d bytes, %d are allowed", ErrTooLarge, len(source), p.limits.Size)
	}
	in, err := p.take(ctx)
	if err != nil {
		return nil, err
	}
	bounded, cancel := context.WithTimeout(ctx, p.limits.Time)
	defer cancel()
	tree, err := in.parse(bounded, language, source, p)
	switch {
	case err == nil || errors.Is(err, ErrTooDeep), errors.Is(err, ErrTooLarge):
		if forgetErr := in.forget(bounded); forgetErr != nil || !p.keep(in) {
			err = errors.Join(err, in.close(ctx))
		}
		return tree, err
	case ctx.Err() != nil:
		err = ctx.Err()
	case bounded.Err() != nil:
		err = fmt.Errorf("%w: more than %v", ErrTooLong, p.limits.Time)
	case !errors.Is(err, ErrTooLong):
		reason, _, _ := strings.Cut(err.Error(), "\n") // a trace of the module's stack follows
		err = fmt.Errorf("%w: %s", ErrGaveUp, reason)
	}
	return nil, errors.Join(err, in.close(ctx))
}

// Compile makes p ready. Parse does it too, when the first file comes, and on that
// file's time.
func (p *Parser) Compile(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.compile(ctx)
}

// take gives an instance that nobody else has.
func (p *Parser) take(ctx context.Context) (*instance, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if err := p.compile(ctx); err != nil {
		return nil, fmt.Errorf("parse: %w", err)
	}
	if n := len(p.idle); n > 0 {
		in := p.idle[n-1]
		p.idle = p.idle[:n-1]
		return in, nil
	}
	return newInstance(ctx, p.runtime, p.code)
}

// keep says whether p has taken in back.
func (p *Parser) keep(in *instance) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= keptIdle || in.memory.Size() > keptPages*pageSize {
		return false
	}
	p.idle = append(p.idle, in)
	return true
}

// compile does nothing the second time.
func (p *Parser) compile(ctx context.Context) error {
	if p.closed {
		return errors.New("the parser is closed")
	}
	if p.runtime != nil {
		return nil
	}
	unpack, err := gzip.NewReader(bytes.NewReader(module))
	if err != nil {
		return fmt.Errorf("the module: %w", err)
	}
	code, err := io.ReadAll(unpack)
	if err != nil {
		return fmt.Errorf("the module: %w", err)
	}
	pages := min(max((p.limits.Memory+pageSize-1)/pageSize, 1), math.MaxUint16)
	runtime := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().
		WithMemoryLimitPages(uint32(pages)))
	compiled, err := runtime.CompileModule(ctx, code)
	if err == nil {
		err = p.readNames(ctx, runtime, compiled)
	}
	if err != nil {
		return errors.Join(err, runtime.Close(ctx))
	}
	p.runtime, p.code = runtime, compiled
	return nil
}

// readNames asks for the names of all that the grammars know, and keeps the
// instance that it asks.
func (p *Parser) readNames(ctx context.Context, runtime wazero.Runtime, code wazero.CompiledModule) error {
	in, err := newInstance(ctx, runtime, code)
	if err != nil {
		return err
	}
	for l := range languages {
		if p.names[l], err = in.readNames(ctx, l); err != nil {
			return fmt.Errorf("%v: %w", l, err)
		}
	}
	p.idle = append(p.idle, in)
	return nil
}

// Close frees everything. What is being parsed meanwhile fails.
func (p *Parser) Close(ctx context.Context) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	p.idle = nil
	if p.runtime == nil {
		return nil
	}
	return p.runtime.Close(ctx)
}
