package rescind

import (
	"errors"
	"fmt"
)

// The errors callers test for with [errors.Is]. A caller over HTTP only ever
// learns "inactive"; which of the kinds it was is for the log.
var (
	// ErrInactive says that a token does not stand. Every reason below wraps it.
	ErrInactive = errors.New("token is not active")

	// ErrExpired is ErrInactive because time ran out: the token's own, the
	// session's absolute one, or its idle one.
	ErrExpired = fmt.Errorf("%w: expired", ErrInactive)
	// ErrRevoked is ErrInactive because the session, its subject, its client,
	// everything, or the key that made the token was ended.
	ErrRevoked = fmt.Errorf("%w: revoked", ErrInactive)
	// ErrUnknown is ErrInactive because the ledger holds no such token.
	ErrUnknown = fmt.Errorf("%w: not in the ledger", ErrInactive)
	// ErrMalformed is ErrInactive because the text is no token of ours, or is
	// one that says something other than the ledger does.
	ErrMalformed = fmt.Errorf("%w: malformed", ErrInactive)
	// ErrAudience is ErrInactive because the token stands, but not here.
	ErrAudience = fmt.Errorf("%w: meant for another audience", ErrInactive)

	// ErrReuse says that a rotated refresh token came back outside its grace
	// window. The session it belonged to has been ended.
	ErrReuse = errors.New("refresh token reuse: the session has been ended")
	// ErrConflict says that the state of things forbids this step: what it was
	// compared against has changed since, or a name is taken. Nothing was written.
	// Read again and decide again.
	ErrConflict = errors.New("conflict")
	// ErrUnavailable says that the state could not be known, or that the outcome
	// of a write is unknown. It is never a statement about a token. Ending is
	// idempotent: repeat it until it returns nil.
	ErrUnavailable = errors.New("state unavailable")

	// ErrScope says that a standing token lacks a scope that was asked for.
	ErrScope = errors.New("insufficient scope")
	// ErrInvalid says that the request itself is wrong; the text says how.
	ErrInvalid = errors.New("invalid request")
	// ErrNotFound says that there is no such session, client or key.
	ErrNotFound = errors.New("not found")
	// ErrForbidden says that this caller may not do this.
	ErrForbidden = errors.New("not allowed")
	// ErrForeign says that a token belongs to another client.
	ErrForeign = errors.New("token was issued to another client")
	// ErrLimit says that the subject already has as many sessions as allowed.
	ErrLimit = errors.New("too many concurrent sessions")
)

func invalid(format string, args ...any) error {
	return fmt.Errorf("%w: %s", ErrInvalid, fmt.Sprintf(format, args...))
}

// unavailable keeps the cause for the log and gives callers one error to test.
func unavailable(op string, err error) error {
	if err == nil || errors.Is(err, ErrUnavailable) || errors.Is(err, ErrConflict) {
		return err
	}
	return fmt.Errorf("%w: %s: %w", ErrUnavailable, op, err)
}
