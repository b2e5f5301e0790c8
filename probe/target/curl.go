package target

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"mime/multipart"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/expand"
	"mvdan.cc/sh/v3/syntax"
)

// MaxCurl is the largest file of curl commands that FromCurl reads, in bytes, and
// maxCommands how many commands may be in it.
const (
	MaxCurl     = 1 << 20
	maxCommands = 200
)

// FromCurl drafts a description from curl commands, as they stand in a shell
// script, an application's documentation, or what a browser gives as "Copy as
// cURL (bash)": the login, requests that need a session, and if they are there
// the refresh and the logout, in any order. Nothing is run. Shell variables stay
// variables of the environment. base overrides scheme, host and port of the
// application if it is not empty.
func FromCurl(text []byte, base string) (*Draft, error) {
	all, err := readCurl(text)
	if err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("there is no curl command in it")
	}
	return draftCurl(all, base)
}

var (
	windowsForm    = regexp.MustCompile(`(?m)curl(\.exe)?\s+\^"|\^\s*\r?$`)
	powershellForm = regexp.MustCompile(`(?i)invoke-(webrequest|restmethod)`)
)

// readCurl returns the requests of all curl commands, also of those in pipes and
// command substitutions.
func readCurl(text []byte) ([]*exchange, error) {
	switch {
	case len(text) > MaxCurl:
		return nil, fmt.Errorf("the file has %d bytes, at most %d are read", len(text), MaxCurl)
	case windowsForm.Match(text):
		return nil, errors.New("this is a command for the Windows prompt (^): copy it as cURL (bash) instead")
	case powershellForm.Match(text):
		return nil, errors.New("this is a command for PowerShell: copy it as cURL (bash) instead")
	case bytes.ContainsAny(text, "\x00"+markOpen+markClose) || !printable(strings.ReplaceAll(string(text), "\r", "")):
		return nil, errors.New("this is no text of a shell: it has control characters in it")
	}
	if err := shallowShell(text); err != nil {
		return nil, err
	}
	script := strings.ReplaceAll(string(text), "\r\n", "\n")
	file, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(script), "")
	if err != nil {
		var where syntax.ParseError
		if errors.As(err, &where) {
			// Its own text may quote what is there.
			return nil, fmt.Errorf("[%d:%d] this is no command that a shell (bash) reads: a quote or bracket may be missing", where.Pos.Line(), where.Pos.Col())
		}
		return nil, errors.New("this is no command that a shell (bash) reads")
	}
	bases := assigned(file)
	var all []*exchange
	var failed error
	syntax.Walk(file, func(n syntax.Node) bool {
		call, isCall := n.(*syntax.CallExpr)
		if !isCall || failed != nil {
			return failed == nil
		}
		words, err := literals(call, bases)
		if err == nil && len(words) > 0 && isCurl(words[0]) {
			var more []*exchange
			if more, err = curlRequests(words[1:]); err == nil {
				all = append(all, more...)
			}
		} else if len(words) == 0 || !isCurl(words[0]) {
			err = nil // some other command: of no interest
		}
		switch {
		case err != nil:
			failed = fmt.Errorf("[%d:%d] %w", call.Pos().Line(), call.Pos().Col(), err)
		case len(all) > maxCommands:
			failed = fmt.Errorf("there are more than %d commands", maxCommands)
		}
		return true
	})
	return all, failed
}

func isCurl(word string) bool {
	return word == "curl" || word == "curl.exe" || strings.HasSuffix(word, "/curl")
}

// shallowShell refuses what nests so deep that the parser might not come back.
func shallowShell(text []byte) error {
	depth := 0
	for _, c := range text {
		switch c {
		case '(', '{':
			depth++
		case ')', '}':
			depth = max(0, depth-1)
		}
		if depth > 500 {
			return errors.New("this nests too deep")
		}
	}
	return nil
}

// assigned returns the variables that the script sets to a URL in plain text,
// such as its base.
func assigned(file *syntax.File) map[string]string {
	all := map[string]string{}
	syntax.Walk(file, func(n syntax.Node) bool {
		if a, is := n.(*syntax.Assign); is && a.Name != nil && a.Value != nil {
			text, err := expand.Literal(&expand.Config{}, a.Value)
			u, wrong := url.Parse(text)
			if err == nil && wrong == nil && plainWord(a.Value) == nil && absolute.MatchString(text) && u.Host != "" && u.User == nil && u.RawQuery == "" {
				all[a.Name.Value] = strings.TrimSuffix(text, "/")
			}
		}
		return true
	})
	return all
}

// literals returns the words of a command as the shell would pass them, with a
// mark in the place of each variable. On an error the words before it are
// returned too.
func literals(call *syntax.CallExpr, bases map[string]string) ([]string, error) {
	config := &expand.Config{Env: expand.FuncEnviron(func(name string) string {
		if name == "IFS" || !envNamePattern.MatchString(name) {
			return ""
		}
		if base := bases[name]; base != "" {
			return base
		}
		return markOpen + name + markClose
	})}
	var words []string
	for _, word := range call.Args {
		if err := plainWord(word); err != nil {
			return words, err
		}
		// Not expand.Literal, which leaves the backslash of '\'' where it is.
		fields, err := expand.Fields(config, word)
		if err != nil {
			return words, errors.New("an argument is not plain text: only variables as $NAME may stand in it")
		}
		words = append(words, fields...)
	}
	return words, nil
}

var envNamePattern = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]{0,63}$`)

// plainWord refuses what a shell would have to compute.
func plainWord(word *syntax.Word) error {
	var err error
	bare := "" // what is not quoted
	for _, part := range word.Parts {
		if lit, is := part.(*syntax.Lit); is {
			bare += lit.Value
		}
	}
	if strings.Contains(bare, "{") && (strings.Contains(bare, ",") || strings.Contains(bare, "..")) {
		return errors.New("an argument has braces outside quotes, which a shell expands: quote it") // to as many as it likes
	}
	syntax.Walk(word, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.ParamExp:
			if n.Length || n.Width || n.Excl || n.Index != nil || n.Slice != nil || n.Repl != nil || n.Exp != nil || n.Param == nil || !envNamePattern.MatchString(n.Param.Value) {
				err = errors.New("of shell variables only $NAME and ${NAME} are read")
			}
		case *syntax.CmdSubst, *syntax.ProcSubst, *syntax.ArithmExp, *syntax.ExtGlob:
			err = errors.New("an argument is the result of another command: put a variable there, as $TOKEN")
		}
		return err == nil
	})
	return err
}

// Options of curl that change nothing of what is asked, with and without an
// argument. What is in none of the lists is refused.
var (
	ignoredFlags = []string{
		"-s", "--silent", "-S", "--show-error", "-v", "--verbose", "-i", "--include", "--show-headers", "-k", "--insecure", "--compressed", "-f", "--fail",
		"--fail-with-body", "-g", "--globoff", "-#", "--progress-bar", "--no-progress-meter", "-N", "--no-buffer", "-O", "--remote-name", "-J",
		"--remote-header-name", "-0", "--http1.0", "--http1.1", "--http2", "--http2-prior-knowledge", "--http3", "-4", "--ipv4", "-6", "--ipv6",
		"--tlsv1.2", "--tlsv1.3", "-n", "--netrc", "--path-as-is", "--tcp-nodelay", "--no-keepalive", "-q", "--disable", "-j", "--junk-session-cookies",
		"--location-trusted", "-L", "--location", "--basic", "--raw", "--tr-encoding", "--post301", "--post302", "--post303", "-a", "--append",
	}
	ignoredOptions = []string{
		"-o", "--output", "-w", "--write-out", "-m", "--max-time", "--connect-timeout", "--retry", "--retry-delay", "--retry-max-time", "-D",
		"--dump-header", "-c", "--cookie-jar", "-x", "--proxy", "--noproxy", "--resolve", "--connect-to", "--cacert", "--capath", "-E", "--cert",
		"--key", "--cert-type", "--key-type", "--ciphers", "--limit-rate", "--interface", "--max-redirs", "--stderr", "--trace", "--trace-ascii",
		"--unix-socket", "--keepalive-time", "--output-dir", "--dns-servers", "--tls-max",
	}
	knownFlags   = []string{"-I", "--head", "-G", "--get", "--next", "-:"}
	knownOptions = []string{
		"-X", "--request", "-H", "--header", "-d", "--data", "--data-raw", "--data-ascii", "--data-binary", "--data-urlencode", "--json", "-u", "--user",
		"-b", "--cookie", "-F", "--form", "--form-string", "-A", "--user-agent", "-e", "--referer", "--url", "--oauth2-bearer", "--url-query", "-r", "--range",
	}
)

// curlRequests reads the arguments of one command.
func curlRequests(args []string) ([]*exchange, error) {
	var all []*exchange
	c := &curl{header: http.Header{}}
	for len(args) > 0 {
		arg := args[0]
		args = args[1:]
		switch {
		case arg == "--":
			c.urls = append(c.urls, args...)
			args = nil
			continue
		case !strings.HasPrefix(arg, "-") || arg == "-":
			c.urls = append(c.urls, arg)
			continue
		}
		name, value, attached := splitOption(arg)
		switch {
		case slices.Contains(ignoredFlags, name), slices.Contains(knownFlags, name):
			if attached { // -sS: the rest are more flags
				args = append([]string{"-" + value}, args...)
			}
			if name == "--next" || name == "-:" {
				more, err := c.requests()
				if err != nil {
					return nil, err
				}
				all = append(all, more...)
				c = &curl{header: http.Header{}}
			}
			c.head = c.head || name == "-I" || name == "--head"
			c.get = c.get || name == "-G" || name == "--get"
		case slices.Contains(ignoredOptions, name), slices.Contains(knownOptions, name):
			if !attached {
				if len(args) == 0 {
					return nil, fmt.Errorf("curl %s needs a value", name)
				}
				value, args = args[0], args[1:]
			}
			if err := c.option(name, value); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("curl %s is not understood: leave it out if the request does without it", name)
		}
	}
	more, err := c.requests()
	return append(all, more...), err
}

// splitOption cuts a short option off what is attached to it: -XPOST.
func splitOption(arg string) (name, value string, attached bool) {
	if strings.HasPrefix(arg, "--") {
		if name, on := strings.CutPrefix(arg, "--no-"); on && slices.Contains(ignoredFlags, "--"+name) {
			return "--" + name, "", false
		}
		return arg, "", false
	}
	name = arg[:min(2, len(arg))]
	return name, arg[len(name):], len(arg) > len(name)
}

// curl is one request as its options say it.
type curl struct {
	method    string
	urls      []string
	header    http.Header
	data      []string
	query     []string
	form      []string
	json      bool
	head, get bool
	files     bool
}

func (c *curl) option(name, value string) error {
	switch name {
	case "-X", "--request":
		c.method = value
	case "-H", "--header":
		field, text, ok := strings.Cut(value, ":")
		if strings.HasPrefix(value, "@") {
			return errors.New("curl -H @FILE: write the headers out")
		}
		if ok && fieldPattern.MatchString(field) && strings.TrimSpace(text) != "" {
			c.header.Add(field, strings.TrimSpace(text))
		}
	case "-d", "--data", "--data-ascii", "--data-binary", "--json":
		if strings.HasPrefix(value, "@") {
			return fmt.Errorf("curl %s @FILE: write what is in the file into the command", name)
		}
		c.data = append(c.data, value)
		c.json = c.json || name == "--json"
	case "--data-raw":
		c.data = append(c.data, value)
	case "--data-urlencode", "--url-query":
		encoded, err := urlEncoded(value)
		if err != nil {
			return fmt.Errorf("curl %s: %w", name, err)
		}
		if name == "--url-query" {
			c.query = append(c.query, encoded)
		} else {
			c.data = append(c.data, encoded)
		}
	case "-u", "--user":
		c.header.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(value)))
	case "--oauth2-bearer":
		c.header.Set("Authorization", "Bearer "+value)
	case "-b", "--cookie":
		if strings.Contains(value, "=") { // else it names a file
			c.header.Add("Cookie", value)
		}
	case "-F", "--form", "--form-string":
		c.form = append(c.form, value)
	case "--url":
		c.urls = append(c.urls, value)
	}
	return nil
}

// urlEncoded encodes what --data-urlencode takes: content, =content, name=content.
// Marks of variables survive.
func urlEncoded(value string) (string, error) {
	name, content, named := strings.Cut(value, "=")
	if !named {
		name, content = "", value
		if strings.Contains(value, "@") {
			return "", errors.New("NAME@FILE: write what is in the file into the command")
		}
	}
	if name != "" {
		name += "="
	}
	return name + url.QueryEscape(content), nil
}

func (c *curl) requests() ([]*exchange, error) {
	if len(c.urls) == 0 {
		return nil, errors.New("this curl command has no URL")
	}
	if c.form != nil {
		if err := c.multipart(); err != nil {
			return nil, err
		}
	}
	body := strings.Join(c.data, "&")
	if c.json {
		body = strings.Join(c.data, "")
		setDefault(c.header, "Content-Type", "application/json")
	}
	method := c.method
	switch {
	case method != "":
	case c.head:
		method = "HEAD"
	case c.get || c.data == nil && c.form == nil:
		method = "GET"
	default:
		method = "POST"
	}
	if c.get {
		c.query = append(c.query, c.data...)
		body = ""
	} else if c.data != nil && !c.json {
		setDefault(c.header, "Content-Type", "application/x-www-form-urlencoded")
	}
	var all []*exchange
	for _, ref := range c.urls {
		u, err := curlURL(ref, c.query)
		if err != nil {
			return nil, err
		}
		x := &exchange{method: strings.ToUpper(method), url: u, header: c.header.Clone(), body: []byte(body), files: c.files}
		if !methodPattern.MatchString(x.method) {
			return nil, errors.New("curl -X takes a method as POST")
		}
		all = append(all, x)
	}
	return all, nil
}

// variableHost is the end of the host that stands for a base URL in a variable, as
// in $BASE/login. No such host exists (RFC 6761).
const variableHost = ".variable.invalid"

func curlURL(ref string, query []string) (*url.URL, error) {
	if len(query) > 0 {
		separator := "?"
		if strings.Contains(ref, "?") {
			separator = "&"
		}
		ref += separator + strings.Join(query, "&")
	}
	if rest, ok := strings.CutPrefix(ref, markOpen); ok {
		name, path, _ := strings.Cut(rest, markClose)
		ref = "http://" + hostFor(name) + path
	} else if !absolute.MatchString(ref) {
		ref = "http://" + ref // as curl does
	}
	u, err := url.Parse(ref)
	if err != nil || u.Hostname() == "" || u.Scheme != "http" && u.Scheme != "https" || strings.ContainsAny(u.Host, markOpen+"%") || !hostPattern.MatchString(u.Host) {
		return nil, errors.New("the URL of a curl command is http:// or https:// and a host in plain text, or a variable and a path as in $BASE/login")
	}
	u.User, u.Fragment = nil, ""
	return u, nil
}

var hostPattern = regexp.MustCompile(`^(\[[0-9a-fA-F:.]+\]|[A-Za-z0-9._-]+)(:[0-9]{1,5})?$`)

// Names of variables tell upper from lower case, hosts do not.
func hostFor(variable string) string { return fmt.Sprintf("x%x%s", variable, variableHost) }

// instanceOf is what stands for an origin in the description.
func instanceOf(u *url.URL) string {
	if digits, ok := strings.CutSuffix(u.Host, variableHost); ok {
		if name, err := hex.DecodeString(digits[1:]); err == nil && envNamePattern.Match(name) {
			return "${" + string(name) + "}"
		}
	}
	return u.Scheme + "://" + u.Host
}

func (c *curl) multipart() error {
	var b bytes.Buffer
	w := multipart.NewWriter(&b)
	for _, part := range c.form {
		name, value, ok := strings.Cut(part, "=")
		switch {
		case !ok:
			return errors.New("curl -F takes NAME=VALUE")
		case strings.HasPrefix(value, "@"), strings.HasPrefix(value, "<"):
			c.files = true
			continue
		}
		if err := w.WriteField(name, value); err != nil {
			return err
		}
	}
	if err := w.Close(); err != nil {
		return err
	}
	c.data = []string{b.String()}
	c.header.Set("Content-Type", w.FormDataContentType())
	return nil
}

func setDefault(h http.Header, name, value string) {
	if h.Get(name) == "" {
		h.Set(name, value)
	}
}
