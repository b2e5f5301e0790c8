package syntax

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
)

// An instance of the module has a memory of its own, and parses one file at a
// time. After an error only close is left to do with it.
type instance struct {
	module  api.Module
	memory  api.Memory
	records uint32 // where the buffer of records lies
}

// names are those of a language, by their numbers.
type names struct{ symbols, fields []string }

func newInstance(ctx context.Context, runtime wazero.Runtime, code wazero.CompiledModule) (*instance, error) {
	module, err := runtime.InstantiateModule(ctx, code, wazero.NewModuleConfig().WithName(""))
	if err != nil {
		return nil, fmt.Errorf("start the parser: %w", err)
	}
	in := &instance{module: module, memory: module.Memory()}
	if in.records, err = in.call(ctx, "records"); err != nil {
		return nil, errors.Join(fmt.Errorf("start the parser: %w", err), module.Close(ctx))
	}
	return in, nil
}

func (in *instance) close(ctx context.Context) error {
	return in.module.Close(context.WithoutCancel(ctx))
}

// call calls a function that answers one number, or none.
func (in *instance) call(ctx context.Context, name string, arguments ...uint64) (uint32, error) {
	results, err := in.module.ExportedFunction(name).Call(ctx, arguments...)
	if err != nil || len(results) == 0 {
		return 0, err
	}
	return api.DecodeU32(results[0]), nil
}

// What a node is in the buffer: as Record in wasm/shim.c.
const (
	recordSize = 20

	flagNamed   = 1
	flagMissing = 2
	flagExtra   = 4
	flagBroken  = 8

	symbolError = 0xffff // of what did not parse, in every language
)

var errNonsense = errors.New("the module answered what cannot be")

// What advance answers.
const (
	working = iota
	ready
	tooMuch
)

// parse leaves in ready for forget if it answers nil, ErrTooDeep or ErrTooLarge.
func (in *instance) parse(ctx context.Context, language Language, source []byte, p *Parser) (*Tree, error) {
	at, err := in.call(ctx, "allocate", uint64(len(source)))
	if err != nil {
		return nil, err
	}
	if at == 0 || !in.memory.Write(at, source) {
		return nil, errors.New("no room for the file")
	}
	if fits, err := in.call(ctx, "begin", uint64(language), uint64(len(source))); err != nil {
		return nil, err
	} else if fits == 0 {
		return nil, errors.New("the grammar does not fit the parser")
	}
	for state := uint32(working); state != ready; {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		if state, err = in.call(ctx, "advance"); err != nil {
			return nil, err
		}
		if state == tooMuch {
			return nil, ErrTooLong
		}
	}
	b := builder{tree: &Tree{Language: language, Source: source, lines: lineStarts(source)}, names: p.names[language], limits: p.limits}
	for {
		if err := ctx.Err(); err != nil {
			return nil, err
		}
		n, err := in.call(ctx, "next")
		if err != nil {
			return nil, err
		}
		if n == 0 {
			return b.finish()
		}
		records, ok := in.memory.Read(in.records, n*recordSize)
		if !ok {
			return nil, errNonsense
		}
		if err := b.add(records); err != nil {
			return nil, err
		}
	}
}

// forget frees what parse has made.
func (in *instance) forget(ctx context.Context) error {
	_, err := in.call(ctx, "forget")
	return err
}

// A builder makes the tree of the records, which come parents first.
type builder struct {
	tree    *Tree
	names   *names
	limits  Limits
	records []record
	open    []int32 // the last record, its parent, and so on up to the root
}

type record struct {
	symbol, field    uint16
	flags            uint32
	start, end       uint32
	parent, children int32
}

func (b *builder) add(from []byte) error {
	for ; len(from) >= recordSize; from = from[recordSize:] {
		depth := int(binary.LittleEndian.Uint32(from[4:]))
		r := record{
			symbol: binary.LittleEndian.Uint16(from),
			field:  binary.LittleEndian.Uint16(from[2:]),
			start:  binary.LittleEndian.Uint32(from[8:]),
			end:    binary.LittleEndian.Uint32(from[12:]),
			flags:  binary.LittleEndian.Uint32(from[16:]),
			parent: -1,
		}
		if depth > b.limits.Depth {
			return fmt.Errorf("%w: more than %d", ErrTooDeep, b.limits.Depth)
		}
		if len(b.records) >= b.limits.Nodes {
			return fmt.Errorf("%w: more than %d nodes", ErrTooLarge, b.limits.Nodes)
		}
		if depth > len(b.open) || depth == 0 && len(b.records) > 0 || r.start > r.end || int64(r.end) > int64(len(b.tree.Source)) ||
			int(r.field) >= len(b.names.fields) || r.symbol != symbolError && int(r.symbol) >= len(b.names.symbols) {
			return errNonsense
		}
		if b.open = b.open[:depth]; depth > 0 {
			r.parent = b.open[depth-1]
			b.records[r.parent].children++
		}
		b.open = append(b.open, int32(len(b.records)))
		b.records = append(b.records, r)
	}
	return nil
}

// finish makes the nodes. All of them, and all their lists of children, lie in
// two pieces of memory.
func (b *builder) finish() (*Tree, error) {
	if len(b.records) == 0 {
		return nil, errNonsense
	}
	nodes, lists := make([]Node, len(b.records)), make([]*Node, len(b.records)-1)
	for i, r := range b.records {
		n := &nodes[i]
		*n = Node{
			Kind: "ERROR", Field: b.names.fields[r.field], Start: int(r.start), End: int(r.end), tree: b.tree,
			Named: r.flags&flagNamed != 0, Missing: r.flags&flagMissing != 0, Extra: r.flags&flagExtra != 0, Broken: r.flags&flagBroken != 0,
			Children: lists[:0:r.children],
		}
		lists = lists[r.children:]
		if r.symbol != symbolError {
			n.Kind = b.names.symbols[r.symbol]
		}
		if r.parent >= 0 {
			n.Parent = &nodes[r.parent]
			n.Parent.Children = append(n.Parent.Children, n)
		}
	}
	b.tree.Root = &nodes[0]
	return b.tree, nil
}

func (in *instance) readNames(ctx context.Context, language Language) (*names, error) {
	symbols, err := in.list(ctx, language, "symbols", "symbol", 0)
	if err != nil {
		return nil, err
	}
	fields, err := in.list(ctx, language, "fields", "field", 1) // field 0 is none
	return &names{symbols: symbols, fields: fields}, err
}

func (in *instance) list(ctx context.Context, language Language, count, name string, from uint32) ([]string, error) {
	n, err := in.call(ctx, count, uint64(language))
	if err != nil {
		return nil, err
	}
	list := make([]string, n+from)
	for i := from; i < n+from; i++ {
		at, err := in.call(ctx, name, uint64(language), uint64(i))
		if err != nil {
			return nil, err
		}
		if list[i], err = in.text(at); err != nil {
			return nil, err
		}
	}
	return list, nil
}

// text reads a string of C. Names are short.
func (in *instance) text(at uint32) (string, error) {
	for n := range uint32(256) {
		if b, ok := in.memory.ReadByte(at + n); at == 0 || !ok {
			break
		} else if b == 0 {
			text, _ := in.memory.Read(at, n)
			return string(text), nil
		}
	}
	return "", errNonsense
}
