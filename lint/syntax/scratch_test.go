package syntax
import ("testing";"context";"fmt";"time";"os";"strings";"runtime";"bytes")
func dump(n *Node, b *strings.Builder) {
	if n.Field != "" { b.WriteString(n.Field+": ") }
	b.WriteString("("+n.Kind)
	for _, c := range n.Children { if c.Named { b.WriteString(" "); dump(c,b)} }
	b.WriteString(")")
}
func TestScratch(t *testing.T) {
	p := NewParser(Limits{Size: 64<<20, Memory: 1<<30, Time: 20*time.Second, Depth: 1<<22})
	now := time.Now()
	tr, err := p.Parse(context.Background(), JavaScript, []byte("const a = require('x'); // c\nasync () => `a${b}`"))
	fmt.Println(time.Since(now), err)
	var b strings.Builder
	dump(tr.Root, &b); fmt.Println(b.String())
	try := func(name string, l Language, src []byte) {
		now := time.Now()
		tr, err := p.Parse(context.Background(), l, src)
		n, d := 0, 0
		_ = d
		if tr != nil { n = count(tr.Root) }
		size := uint32(0)
		for _, in := range p.idle { size = max(size, in.memory.Size()) }
		var ms runtime.MemStats
		runtime.ReadMemStats(&ms)
		fmt.Println(name, len(src), time.Since(now), err, n, "wasm", size>>20, "MB heap", ms.HeapAlloc>>20)
	}
	ts, _ := os.ReadFile("/tmp/wts/node_modules/web-tree-sitter/web-tree-sitter.js")
	try("real js", JavaScript, ts)
	try("real js", JavaScript, ts)
	try("real tsx", TSX, ts)
	try("real ts", TypeScript, ts)
	big := bytes.Repeat(ts, 10<<20/len(ts))
	try("2MB", JavaScript, big[:2<<20])
	try("2MB", JavaScript, big[:2<<20])
	try("2MB", JavaScript, big[:2<<20])
}
func count(n *Node) int { k := 1; for _, c := range n.Children { k += count(c) }; return k }
