// Package program is what lint knows of source code, whatever its language: files
// with their imports, functions, classes, routes and comments. Front-ends make a
// [File] out of each source file, [Link] ties the files together, and rules read
// the result.
//
// The model keeps what can decide whether a logout ends access: what calls what,
// with which arguments, under which conditions and catches. It drops types,
// except where they lead from a call to the method it reaches, and all else.
package program

import (
	"context"
	"slices"
)

// A Language is a source language. TypeScript is JavaScript to the rules.
type Language string

// The languages that have a front-end.
const (
	JavaScript Language = "javascript"
	Python     Language = "python"
	Go         Language = "go"
)

// A Frontend reads one language. Its methods may be called concurrently.
type Frontend interface {
	Language() Language
	// Extensions of file names, with the dot: ".js".
	Extensions() []string
	// Parse reads one file. Broken source is no error: the File has what could be
	// read, and File.Errors. An error means that nothing could be, or that ctx ended.
	Parse(ctx context.Context, path string, source []byte) (*File, error)
	// Resolve returns the files of the tree that an import of module in the file
	// from stands for; none if the module lies outside. Only Go gives more than one.
	Resolve(tree Tree, from *File, module string) []string
}

// A Tree is the set of files that were parsed, as Resolve sees it. Paths are
// slash-separated and clean.
type Tree interface {
	// Has reports whether a file was parsed.
	Has(path string) bool
	// Files returns the parsed files right inside a folder, in order.
	Files(dir string) []string
	// Config returns the text of a small file that was not parsed, such as go.mod or
	// tsconfig.json, in a folder of the tree or above it; nil if there is none.
	Config(path string) []byte
}

// A Pos is a place in a source file. Line and Column begin at 1; Column counts
// bytes.
type Pos struct{ Offset, Line, Column int }

// A Range goes from Start to just before End.
type Range struct{ Start, End Pos }

// Contains reports whether the other range lies within r.
func (r Range) Contains(other Range) bool {
	return r.Start.Offset <= other.Start.Offset && other.End.Offset <= r.End.Offset
}

// A File is one source file.
type File struct {
	Path     string
	Language Language
	Source   []byte
	// Package is a key that files share whose top-level names see each other without
	// an import, as in Go: folder and package name. "" in other languages.
	Package  string
	Imports  []Import
	Exports  []Export // JavaScript only: elsewhere every top-level name can be imported
	Body     *Node    // a Block: the statements at top level, classes and functions among them
	Routes   []Route  // of the whole file, in nested functions too
	Comments []Comment
	Errors   []ParseError
}

// An Import binds Local, at top level or within a function, to something of another
// module. require(…) with a constant and import(…) that is awaited are imports too.
//
//	import './routes.js'                       -, ./routes.js, *
//	import jwt from 'jsonwebtoken'             jwt, jsonwebtoken, default
//	import * as tokens from './tokens.js'      tokens, ./tokens.js, *
//	const { verify: v } = require('x')         v, x, verify
//	const jwt = require('x')                   jwt, x, *
//	from .auth import guard as g               g, .auth, guard
//	import a.b                                 a, a, *
//	import a.b as c                            c, a.b, *
//	import "github.com/golang-jwt/jwt/v5"      jwt, github.com/golang-jwt/jwt/v5, *
//	from x import *, import . "x"              "", x, *
type Import struct {
	Local, Module, Symbol string
	Range                 Range
}

// An Export is a name under which others import something. Value is what it stands
// for: a Name, a Func, an Object. With Module it is passed on from there: Symbol of
// Module; Name and Symbol are "*" for export * from. module.exports = x is the
// export "*", whose fields are names too; exports.a = x and module.exports.a = x
// are the export a; export default x is "default".
type Export struct {
	Name           string
	Value          *Node
	Module, Symbol string
}

// A Route says that a server calls something for a request.
type Route struct {
	Method string // in capitals; "" for any; "USE" for what every request beneath Path passes through
	Path   string // as far as it is constant; with the controller's or blueprint's prefix if the same file has it
	Router *Node  // what it is registered on: app, router, blueprint; nil for a decorated method
	// Handlers in the order in which they are called: middleware, guards, and, unless
	// Method is USE, last the one that answers. A USE that mounts another router
	// has it as its handler.
	Handlers []*Node
	Range    Range
}

// A Comment is one comment, without its marks; the lines of a block are kept.
// Doc strings of Python are comments.
type Comment struct {
	Text  string
	Range Range
}

// A ParseError is a place that is not in the language.
type ParseError struct {
	Message string
	Range   Range
}

// A Function is anything that can be called and has, or would have, a body.
type Function struct {
	Name       string // of its declaration, or of the variable or property that is bound to it; "" without
	Class      *Class // of a method; of Go, its receiver's type
	Params     []Param
	Result     string // the type of its (first) result, dotted, as in Param; "" unknown
	Decorators []*Node
	Body       *Node // a Block; an arrow's expression is a Return in one; nil where it has none
	Static     bool
	Range      Range // of the whole, with decorators
	NameRange  Range // of its name, or of its first token
}

// A Param is a parameter of a function, or a field of a class.
type Param struct {
	Name string // "" where a pattern stands
	// Type as a dotted name, "" if unknown: AuthService, jwt.RegisteredClaims. Pointer,
	// optional, generic arguments and null are dropped: *store.Store is store.Store,
	// Promise<T> is T, Model<User> is Model.
	Type       string
	Pattern    *Node // an Object or List that takes the argument apart
	Default    *Node // value if none is given; of a field: what it begins with
	Decorators []*Node
	Range      Range
}

// A Class is a class, or a type of Go with methods or fields. What the constructor
// declares as properties (private readonly auth: AuthService) are fields too.
type Class struct {
	Name       string
	Bases      []*Node // extended and implemented; of Go, embedded: Name, Member, or a Call of a mix-in
	Interface  bool    // only says what methods there are
	Fields     []Param
	Methods    []*Function // with the constructor, called "constructor"
	Decorators []*Node
	Range      Range
}

// Method returns the method with a name, nil without. Bases are not looked at.
func (c *Class) Method(name string) *Function {
	if i := slices.IndexFunc(c.Methods, func(f *Function) bool { return f.Name == name }); i >= 0 {
		return c.Methods[i]
	}
	return nil
}
