package probe

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/tmaxmax/go-sse"

	"github.com/rescind/rescind/probe/target"
)

// A line is a WebSocket or an event stream that a session has opened, or was
// refused.
type line struct {
	socket   *target.Socket
	name     string // "WebSocket /ws", "event stream /events"
	instance string
	artefact artefact
	now      func() time.Time
	opened   *answer // to the handshake
	stop     context.CancelFunc
	done     chan struct{} // closed when the reader has ended

	mu       sync.Mutex
	messages []message
	closed   time.Time // when it was seen that no more comes; zero while it is open
	why      string    // why it was closed
	cut      bool      // it was closed by this side, because too much came
}

// A message is one that was received.
type message struct {
	at    time.Time
	shape string // see shapeOf
	text  []byte // the beginning of it
}

// Limits of what is read from a line, besides that of a single message.
const (
	maxMessages = 5000
	maxShown    = 1 << 10 // bytes of a message that are kept
)

// dial opens a socket of the description with what an artefact holds. A socket that
// is refused gives a line that is closed. The error is that of the context, or of a
// limit.
func (r *run) dial(ctx context.Context, role string, s *target.Socket, instance string, a artefact) (*line, error) {
	l := &line{socket: s, instance: instance, artefact: a, now: r.options.Now, done: make(chan struct{}), name: "WebSocket " + string(s.WebSocket)}
	if s.WebSocket == "" {
		l.name = "event stream " + string(s.SSE)
	}
	q, err := r.handshake(role, s, instance, a)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", l.name, err)
	}
	release, err := r.client.admit(ctx, q.url, false)
	if err != nil {
		return nil, err
	}
	defer release()
	// The context of a handshake is that of the connection: it ends with the line.
	lasting, stop := context.WithCancel(ctx)
	l.stop = stop
	l.opened = &answer{request: q, began: r.options.Now()}
	if s.WebSocket != "" {
		err = r.openWebSocket(lasting, l)
	} else {
		err = r.openStream(lasting, l)
	}
	l.opened.ended = r.options.Now()
	l.opened.class = Alive
	if err != nil {
		l.opened.class = Dead
		if l.opened.status == 0 {
			l.opened.err, l.opened.class = err, Unclear
		}
		l.end(err)
		close(l.done)
		l.stop()
		return l, ctx.Err()
	}
	return l, nil
}

// handshake is the request that opens a socket.
func (r *run) handshake(role string, s *target.Socket, instance string, a artefact) (request, error) {
	text, err := s.URL(instance, a.vars)
	if err != nil {
		return request{}, err
	}
	inShell, err := s.URL(instance, marks(a.vars))
	if err != nil {
		return request{}, err
	}
	u, err := url.Parse(text)
	if err != nil {
		return request{}, errors.New("not a URL") // err holds it
	}
	q := request{
		role: role, session: a.session, artefact: a.name, method: http.MethodGet, url: u, header: http.Header{},
		shell: &shellForm{url: inShell, header: http.Header{}},
	}
	if err := target.RenderHeaders(q.header, s.Headers, a.vars); err != nil {
		return request{}, err
	}
	if err := target.RenderHeaders(q.shell.header, s.Headers, marks(a.vars)); err != nil {
		return request{}, err
	}
	return q, r.present(&q, a, s.Carry.Or(target.CarryAll))
}

func (r *run) openWebSocket(ctx context.Context, l *line) error {
	header := l.opened.request.header.Clone()
	header.Set("User-Agent", userAgent)
	// Browsers can set no other header, so that tokens travel here too.
	var protocols []string
	for protocol := range strings.SplitSeq(strings.Join(header.Values("Sec-WebSocket-Protocol"), ","), ",") {
		if protocol = strings.TrimSpace(protocol); protocol != "" {
			protocols = append(protocols, protocol)
		}
	}
	header.Del("Sec-WebSocket-Protocol")
	opening, cancel := context.WithTimeout(ctx, time.Duration(r.target.Limits.Timeout))
	defer cancel()
	conn, response, err := websocket.Dial(opening, l.opened.request.url.String(), &websocket.DialOptions{
		HTTPClient: r.client.http, HTTPHeader: header, Subprotocols: protocols,
	})
	if response != nil {
		l.opened.status, l.opened.header = response.StatusCode, response.Header
	}
	if err != nil {
		return errors.New(r.secrets.mask(err.Error()))
	}
	conn.SetReadLimit(r.client.body)
	newCrew(ctx).Go(func() {
		defer close(l.done)
		for {
			_, text, err := conn.Read(ctx)
			if err == nil {
				err = l.receive("", text)
			}
			if err != nil {
				l.end(err)
				_ = conn.CloseNow() // it is over, however it closes
				return
			}
		}
	})
	newCrew(ctx).Go(func() { l.send(ctx, r, conn) })
	return nil
}

// send sends what the description says.
func (l *line) send(ctx context.Context, r *run, conn *websocket.Conn) {
	write := func(t target.Template) error {
		text, err := t.Render(l.artefact.vars)
		if err != nil {
			return err
		}
		return conn.Write(ctx, websocket.MessageText, []byte(text))
	}
	if l.socket.First != "" {
		if err := write(l.socket.First); err != nil {
			l.end(err)
			return
		}
	}
	for l.socket.Send != "" {
		if err := write(l.socket.Send); err != nil {
			l.end(err)
			return
		}
		if err := r.options.Sleep(ctx, time.Duration(l.socket.Every)); err != nil {
			return
		}
	}
}

func (r *run) openStream(ctx context.Context, l *line) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, l.opened.request.url.String(), nil)
	if err != nil {
		return errors.New("the request cannot be made") // err holds the URL
	}
	req.Header = l.opened.request.header.Clone()
	req.Header.Set("User-Agent", userAgent)
	req.Header.Set("Accept", "text/event-stream")
	endless := *r.client.http
	endless.Timeout = 0 // of the answer's header there is still one
	response, err := endless.Do(req)
	if err != nil {
		return errors.New(r.secrets.mask(err.Error()))
	}
	l.opened.status, l.opened.header = response.StatusCode, response.Header
	if response.StatusCode != http.StatusOK || !strings.HasPrefix(response.Header.Get("Content-Type"), "text/event-stream") {
		if err := response.Body.Close(); err != nil {
			return err
		}
		return fmt.Errorf("it was answered %d, %s", response.StatusCode, response.Header.Get("Content-Type"))
	}
	newCrew(ctx).Go(func() {
		defer close(l.done)
		defer response.Body.Close()
		var why error
		most := &io.LimitedReader{R: response.Body, N: 8 * r.client.body}
		for event, err := range sse.Read(most, &sse.ReadConfig{MaxEventSize: int(r.client.body)}) {
			if why = err; err == nil {
				why = l.receive(event.Type, []byte(event.Data))
			}
			if why != nil {
				break
			}
		}
		if most.N <= 0 || errors.Is(why, bufio.ErrTooLong) {
			why = errFlood // the end is this side's, and not the server's
		}
		l.end(why)
	})
	return nil
}

// errFlood ends a line on which more comes than is read.
var errFlood = errors.New("more came than is read")

// receive notes a message. It is errFlood if no more are wanted.
func (l *line) receive(kind string, text []byte) error {
	shape := shapeOf(kind, text)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.messages = append(l.messages, message{at: l.now(), shape: shape, text: append([]byte(nil), text[:min(len(text), maxShown)]...)})
	if len(l.messages) >= maxMessages {
		return errFlood
	}
	return nil
}

// shapeOf is what a message consists of. If it is JSON: its members and what they
// are, without their values but for the member that says of which kind it is. Else
// how it begins, without its numbers. The kind is that of an event.
func shapeOf(kind string, text []byte) string {
	all := []string{"kind " + kind}
	for trait := range traitsOf(&answer{body: text}) {
		named := strings.HasPrefix(trait, valueTrait) && slices.ContainsFunc(kinds, func(name string) bool { return strings.HasPrefix(trait, valueTrait+"/"+name+" ") })
		if named || !strings.HasPrefix(trait, valueTrait) && !strings.HasPrefix(trait, "text ") {
			all = append(all, trait)
		}
	}
	if !json.Valid(text) {
		all = append(all, numbers.ReplaceAllString(strings.ToValidUTF8(string(text[:min(len(text), 40)]), "·"), "#"))
	}
	return brief(strings.Join(sorted(all), "\n"))
}

var (
	kinds   = []string{"type", "event", "kind", "op", "action"}
	numbers = regexp.MustCompile(`[0-9]+`)
)

// end notes that no more comes.
func (l *line) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed.IsZero() {
		return
	}
	l.closed, l.why = l.now(), "the server closed it"
	switch status := websocket.CloseStatus(err); {
	case status >= 0:
		l.why = fmt.Sprintf("the server closed it with %d", status)
	case errors.Is(err, errFlood), errors.Is(err, websocket.ErrMessageTooBig):
		l.why, l.cut = errFlood.Error(), true
	}
}

// close ends the line from this side, and waits for its reader.
func (l *line) close() {
	l.stop()
	<-l.done
}

// flooded reports whether the line was closed because too much came.
func (l *line) flooded() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.cut
}

// seen is what has been received so far.
func (l *line) seen() (messages []message, closed time.Time) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return append([]message(nil), l.messages...), l.closed
}

// exchangeOf is a message as an answer, for lives and for evidence.
func (l *line) exchangeOf(m message, class Class) *answer {
	return &answer{request: l.opened.request, status: l.opened.status, body: m.text, began: m.at, ended: m.at, class: class, note: "a message"}
}
