package probe

import (
	_ "embed"
	"fmt"
	"sync"

	"github.com/goccy/go-yaml"
)

//go:embed checks.yaml
var catalogue []byte

// A Catalogue is what is known of the checks, apart from how they are made.
type Catalogue struct {
	// Checks are in the order in which a report lists them.
	Checks []Check
	// Weaknesses names every CWE that a check names.
	Weaknesses map[string]string
	// Requirements tells of every requirement of ASVS that a check names.
	Requirements map[string]Requirement
}

// A Requirement is one of OWASP ASVS 5.0.
type Requirement struct {
	Level int    // 1, 2 or 3
	About string // what it asks for, in our words
}

// Checks returns the catalogue. It is one and the same for all; nobody may change
// it.
func Checks() Catalogue { return parsed() }

// parsed reads the catalogue once, when it is first asked for: it takes 5 ms.
var parsed = sync.OnceValue(func() Catalogue {
	var c Catalogue
	if err := yaml.UnmarshalWithOptions(catalogue, &c, yaml.Strict()); err != nil {
		panic(fmt.Sprintf("probe: the catalogue that is built in does not parse: %v", err)) // a test parses it
	}
	return c
})

// Find returns the check with an id. One that the catalogue does not have gets
// its id for a title, so that a report is never without one.
func (c Catalogue) Find(id string) Check {
	for _, check := range c.Checks {
		if check.ID == id {
			return check
		}
	}
	return Check{ID: id, Title: id, Severity: Info}
}
