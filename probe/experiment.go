package probe

import (
	"context"
	"errors"
	"fmt"

	"github.com/rescind/rescind/probe/target"
)

// An experiment answers one or several checks. It is a plain value; the list is in
// experiments.
//
// run logs in sessions of its own (login), asks protected routes with what they
// hold (ask, artefacts), ends them (logout), and looks again at once and later
// (watch). It never touches a session of another experiment. It returns results
// for its checks, one or more for each; for a check without one the engine reports
// Inconclusive with the error, so that an experiment may simply return the first
// error that it meets, beside the results it has.
//
// What it calls, and what each promises, stands with login, refresh, logout, ask,
// confirm, tryRefresh and watch. They may be called from several goroutines, each
// with a session of its own.
type experiment struct {
	name   string   // as in Life.Experiment
	checks []string // the ids that it answers
	// lacks says what the description lacks for it; empty if nothing. Its checks
	// are then NotApplicable.
	lacks func(*target.Target) string
	// alone: it touches all sessions of a user, or is disturbed by others; it runs
	// after those that are not, with nothing beside it.
	alone bool
	run   func(ctx context.Context, r *run) ([]Result, error)
}

// experiments is the list. The order is that of the report.
func experiments() []experiment {
	return []experiment{
		logoutExperiment(),
		refreshOnlyExperiment(),
		expiredExperiment(),
		twiceExperiment(),
		everywhereExperiment(),
		variantExperiment(),
		forgedExperiment(),
		hygieneExperiment(),
		getExperiment(),
		crossOriginExperiment(),
		rotationExperiment(),
		beforeRefreshExperiment(),
		bearerExperiment(),
		refreshRaceExperiment(),
		parallelExperiment(),
		inFlightExperiment(),
		socketExperiment(),
		secondExperiment(),
		passwordExperiment(),
	}
}

// errLost says that a session was dead before it was ended, so that its death says
// nothing: the target may allow a user few sessions at a time.
var errLost = errors.New("the session was refused before it was logged out")

// errNone says that an experiment has nothing to work on, after looking. Its
// checks become NotApplicable with the error's text.
type errNone struct{ reason string }

func (e *errNone) Error() string { return e.reason }

// conclude completes the results of an experiment: every check has one.
func (e experiment) conclude(results []Result, err error) []Result {
	have := map[string]bool{}
	for _, result := range results {
		have[result.Check] = true
	}
	for _, id := range e.checks {
		if have[id] {
			continue
		}
		result := Result{Check: id, Verdict: Inconclusive}
		var none *errNone
		switch {
		case errors.As(err, &none):
			result.Verdict, result.Reason = NotApplicable, none.reason
		case err != nil:
			result.Reason = err.Error()
		default:
			result.Reason = fmt.Sprintf("the experiment %q ended without a verdict", e.name)
		}
		results = append(results, result)
	}
	return results
}
