package report

import (
	"encoding/json"
	"io"
	"time"

	"github.com/rescind/rescind/probe"
)

// Version is that of the JSON report. A member that is added does not change it;
// one that is removed, or means something else, does. schema.json beside this
// file describes it.
const Version = 1

type jsonReport struct {
	Format      string       `json:"format"`
	Version     int          `json:"version"`
	Tool        jsonTool     `json:"tool"`
	Target      jsonTarget   `json:"target"`
	Verdict     string       `json:"verdict"`
	ExitCode    int          `json:"exit_code"`
	Started     time.Time    `json:"started"`
	Ended       time.Time    `json:"ended"`
	Requests    int          `json:"requests"`
	Interrupted bool         `json:"interrupted"`
	Counts      jsonCounts   `json:"counts"`
	Remarks     []string     `json:"remarks"`
	Routes      []jsonRoute  `json:"routes"`
	Results     []jsonResult `json:"results"`
	Checks      []jsonCheck  `json:"checks"`
	Lives       []jsonLife   `json:"lives"`
}

type jsonTool struct {
	Name    string `json:"name"`
	Version string `json:"version,omitempty"`
}

type jsonTarget struct {
	Name      string   `json:"name"`
	File      string   `json:"file,omitempty"`
	Instances []string `json:"instances"`
}

type jsonCounts struct {
	Finding       int `json:"finding"`
	Inconclusive  int `json:"inconclusive"`
	Pass          int `json:"pass"`
	Note          int `json:"note"`
	NotApplicable int `json:"not-applicable"`
}

type jsonRoute struct {
	Request   string         `json:"request"`
	Instance  string         `json:"instance"`
	Protected bool           `json:"protected"`
	Reason    string         `json:"reason,omitempty"`
	Controls  []jsonExchange `json:"controls"`
}

type jsonResult struct {
	Check    string         `json:"check"`
	Subject  string         `json:"subject,omitempty"`
	Verdict  string         `json:"verdict"`
	Severity string         `json:"severity"`
	Says     string         `json:"says,omitempty"`
	Reason   string         `json:"reason,omitempty"`
	Evidence []jsonExchange `json:"evidence"`
	Lives    []int          `json:"lives"`
}

type jsonCheck struct {
	ID       string     `json:"id"`
	Title    string     `json:"title"`
	Severity string     `json:"severity"`
	CWE      []string   `json:"cwe"`
	ASVS     []jsonASVS `json:"asvs"`
	Tests    string     `json:"tests,omitempty"`
	Matters  string     `json:"matters,omitempty"`
	Cure     string     `json:"cure,omitempty"`
	Rescind  string     `json:"rescind,omitempty"`
}

type jsonASVS struct {
	ID    string `json:"id"`
	Level int    `json:"level"`
}

type jsonExchange struct {
	Role     string        `json:"role"`
	Session  string        `json:"session,omitempty"`
	Artefact string        `json:"artefact,omitempty"`
	Began    time.Time     `json:"began"`
	TookMS   float64       `json:"took_ms"`
	Request  jsonRequest   `json:"request"`
	Response *jsonResponse `json:"response"`
	Error    string        `json:"error,omitempty"`
	Class    string        `json:"class,omitempty"`
	Note     string        `json:"note,omitempty"`
}

type jsonRequest struct {
	Method  string      `json:"method"`
	URL     string      `json:"url"`
	Headers []jsonField `json:"headers"`
	Body    string      `json:"body,omitempty"`
	Curl    string      `json:"curl"`
}

type jsonResponse struct {
	Status   int         `json:"status"`
	Headers  []jsonField `json:"headers"`
	Body     string      `json:"body,omitempty"`
	BodySize int64       `json:"body_size"`
}

type jsonField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

type jsonLife struct {
	ID          int          `json:"id"`
	Experiment  string       `json:"experiment"`
	Session     string       `json:"session"`
	Artefact    string       `json:"artefact"`
	Kind        string       `json:"kind"`
	Route       string       `json:"route"`
	Instance    string       `json:"instance"`
	EndedAt     string       `json:"ended_at,omitempty"`
	Born        *time.Time   `json:"born"`
	Ended       *time.Time   `json:"ended"`
	Expires     *time.Time   `json:"expires"`
	LastAliveMS *float64     `json:"last_alive_ms"`
	FirstDeadMS *float64     `json:"first_dead_ms"`
	Revived     bool         `json:"revived"`
	Fate        string       `json:"fate"`
	Answers     []jsonAnswer `json:"answers"`
	Marks       []jsonMark   `json:"marks"`
}

type jsonAnswer struct {
	AfterMS float64 `json:"after_ms"`
	TookMS  float64 `json:"took_ms"`
	Status  int     `json:"status"`
	Class   string  `json:"class"`
	Backed  bool    `json:"backed"`
}

type jsonMark struct {
	AfterMS float64 `json:"after_ms"`
	What    string  `json:"what"`
}

// JSON writes the whole report. schema.json describes its form.
func JSON(w io.Writer, r *probe.Report, about About) error {
	r = clean(r)
	catalogue := probe.Checks()
	out := jsonReport{
		Format: "rescind-probe-report", Version: Version, Tool: jsonTool{"rescind probe", about.Version},
		Target:  jsonTarget{r.Name, about.File, list(r.Instances, same)},
		Verdict: string(r.Verdict()), ExitCode: ExitCode(r),
		Started: r.Started.UTC(), Ended: r.Ended.UTC(), Requests: r.Requests, Interrupted: r.Interrupted,
		Counts:  jsonCounts{r.Count(probe.Finding), r.Count(probe.Inconclusive), r.Count(probe.Pass), r.Count(probe.Note), r.Count(probe.NotApplicable)},
		Remarks: list(r.Remarks, same),
		Routes: list(r.Routes, func(route probe.Route) jsonRoute {
			return jsonRoute{route.Request, route.Instance, route.Protected, route.Reason, list(route.Controls, exchangeOf)}
		}),
		Results: list(r.Results, func(result probe.Result) jsonResult {
			return jsonResult{result.Check, result.Subject, string(result.Verdict), string(catalogue.Find(result.Check).Severity),
				result.Says, result.Reason, list(result.Evidence, exchangeOf), list(result.Lives, same)}
		}),
		Checks: list(checksOf(r, catalogue), func(c probe.Check) jsonCheck {
			return jsonCheck{c.ID, c.Title, string(c.Severity), list(c.CWE, same), list(c.ASVS, func(id string) jsonASVS {
				return jsonASVS{id, catalogue.Requirements[id].Level}
			}), c.Tests, c.Matters, c.Cure, c.Rescind}
		}),
		Lives: list(r.Lives, lifeOf),
	}
	encoder := json.NewEncoder(w)
	encoder.SetIndent("", "  ")
	return encoder.Encode(out)
}

// checksOf are the checks that a report has results of, each once.
func checksOf(r *probe.Report, catalogue probe.Catalogue) []probe.Check {
	seen := map[string]bool{}
	var out []probe.Check
	for _, result := range r.Results {
		if !seen[result.Check] {
			seen[result.Check] = true
			out = append(out, catalogue.Find(result.Check))
		}
	}
	return out
}

func exchangeOf(x probe.Exchange) jsonExchange {
	out := jsonExchange{
		Role: x.Role, Session: x.Session, Artefact: x.Artefact, Began: x.Began.UTC(), TookMS: ms(x.Took),
		Request: jsonRequest{x.Request.Method, x.Request.URL, list(x.Request.Header, fieldOf), x.Request.Body, x.Request.Curl},
		Error:   x.Error, Class: string(x.Class), Note: x.Note,
	}
	if x.Status != 0 {
		out.Response = &jsonResponse{x.Status, list(x.Header, fieldOf), x.Body, x.BodySize}
	}
	return out
}

func fieldOf(f probe.Field) jsonField { return jsonField(f) }

func lifeOf(l probe.Life) jsonLife {
	out := jsonLife{
		ID: l.ID, Experiment: l.Experiment, Session: l.Session, Artefact: l.Artefact, Kind: string(l.Kind), Route: l.Route,
		Instance: l.Instance, EndedAt: l.EndedAt, Born: known(l.Born), Ended: known(l.Ended), Expires: known(l.Expires),
		Revived: l.Revived(), Fate: fateOf(l).Text,
		Answers: list(l.Answers, func(a probe.Answer) jsonAnswer {
			return jsonAnswer{ms(a.After), ms(a.Took), a.Status, string(a.Class), a.Backed}
		}),
		Marks: list(l.Marks, func(m probe.Mark) jsonMark { return jsonMark{ms(m.After), m.What} }),
	}
	if l.Ended.IsZero() { // then its times count from its birth, and there is no death to speak of
		return out
	}
	if last, ok := l.LastAlive(); ok {
		number := ms(last)
		out.LastAliveMS = &number
	}
	if first, ok := l.FirstDead(); ok {
		number := ms(first)
		out.FirstDeadMS = &number
	}
	return out
}

// list maps, and makes an empty list of none: JSON has no nil.
func list[A, B any](in []A, f func(A) B) []B {
	out := make([]B, 0, len(in))
	for _, a := range in {
		out = append(out, f(a))
	}
	return out
}

func same[A any](a A) A { return a }

func known(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}

// ms is in milliseconds, to the microsecond.
func ms(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }
