package program

import "slices"

// ofClass is a member of an instance of a class.
func (p *Program) ofClass(c *Class, name string, depth int) (Value, bool) {
	if depth > 8 {
		return Value{}, false
	}
	s := p.classIn[c]
	if m := p.method(c, name); m != nil && !c.Interface && m.Body != nil {
		funcs := []*Function{m}
		if s.File.Language != Go { // where what embeds a type overrides nothing
			funcs = append(funcs, p.implementations(c, name)...)
		}
		return Value{Funcs: funcs, Scope: s, Path: Path{Names: []string{c.Name, name}}, Lasting: true}, true
	}
	if m := p.method(c, name); m != nil {
		return Value{Funcs: p.implementations(c, name), Scope: s, Path: Path{Names: []string{c.Name, name}}, Lasting: true}, true
	}
	within := &Scope{File: s.File, Func: s.Func, Up: s.Up, Class: c, names: s.names}
	for i := range c.Fields {
		f := &c.Fields[i]
		if f.Name != name {
			continue
		}
		if f.Type != "" {
			if v := p.typed(f.Type, s); v.Class != nil || v.Path.Module != "" || v.Missing {
				v.Lasting, v.Param = true, nil
				return v, true
			}
		}
		if f.Default != nil {
			v := p.Value(f.Default, within)
			v.Lasting = true
			return v, true
		}
	}
	if all := p.members[c][name]; len(all) > 0 {
		v := p.best(name, all)
		v.Lasting, v.Param = true, nil
		if v.Known() || v.Missing {
			return v, true
		}
	}
	if v, ok := p.filled(c, name); ok {
		return v, true
	}
	for i := range c.Fields {
		if f := &c.Fields[i]; f.Name == name && f.Type != "" {
			return Value{Path: Path{Names: []string{f.Type}}, Lasting: true}, true
		}
	}
	for _, b := range c.Bases {
		base := p.Value(plain(b), s)
		if base.Class != nil && base.Class != c {
			if v, ok := p.ofClass(base.Class, name, depth+1); ok {
				return v, true
			}
		} else if base.Path.Module != "" || base.Missing {
			return Value{Path: base.Path.with(name), Missing: base.Missing, Lasting: true}, true
		}
	}
	return Value{}, false
}

// filled is a field by what literals of its type put there: functions, mostly.
func (p *Program) filled(c *Class, name string) (Value, bool) {
	for i, l := range p.literals[c.Name] {
		if i >= 32 {
			break
		}
		n := l.node.Field(name)
		if n == nil || p.typed(l.node.Type, l.scope).Class != c {
			continue
		}
		if v := p.Value(n, l.scope); len(v.Funcs) > 0 || v.Class != nil || v.Path.Module != "" {
			v.Lasting, v.Param = true, nil
			return v, true
		}
	}
	return Value{}, false
}

// method finds a method that c itself has.
func (p *Program) method(c *Class, name string) *Function {
	for _, part := range p.parts[c] {
		if m := part.Method(name); m != nil {
			return m
		}
	}
	return c.Method(name)
}

// plain is a base without its type arguments.
func plain(b *Node) *Node {
	for b.Kind == Index && b.On != nil {
		b = b.On
	}
	return b
}

// implementations are the methods that a call of an interface's method may reach.
func (p *Program) implementations(c *Class, name string) []*Function {
	key := memberKey{c, name}
	if all, ok := p.implemented[key]; ok {
		return all
	}
	p.implemented[key] = nil // a circle finds nothing
	var all []*Function
	for _, other := range p.having[name] {
		if other == c || other.Interface || len(all) >= 8 {
			continue
		}
		m := p.method(other, name)
		if m == nil || m.Body == nil {
			continue
		}
		declared := slices.ContainsFunc(other.Bases, func(b *Node) bool {
			return p.Value(plain(b), p.classIn[other]).Class == c
		})
		if declared || c.Interface && p.implements(other, c) {
			all = append(all, m)
		}
	}
	p.implemented[key] = all
	return all
}

type memberKey struct {
	class *Class
	name  string
}

func (p *Program) implements(c, i *Class) bool {
	for _, m := range i.Methods {
		if p.method(c, m.Name) == nil {
			return false
		}
	}
	return len(i.Methods) > 0
}
