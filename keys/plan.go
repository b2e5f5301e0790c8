package keys

import (
	"fmt"
	"time"

	"github.com/rescind/rescind"
)

// plan is a change in the making: the keys of a configuration, and what is to
// become of them. Every plan ends in settle, so that whatever was asked for
// leaves each use with the keys that it needs.
type plan struct {
	keeper *Keeper
	now    time.Time
	actor  string
	fresh  bool // the store has no key yet
	keys   []*key
	change rescind.Change
}

func (k *Keeper) plan(cfg rescind.StoreConfig, now time.Time, actor string) (*plan, error) {
	all, err := k.open(cfg)
	if err != nil {
		return nil, err
	}
	return &plan{
		keeper: k, now: now.UTC().Round(0), actor: actor, fresh: len(all) == 0,
		keys: all, change: rescind.Change{Expect: cfg.Version},
	}, nil
}

// Maintain implements [rescind.Keys]. Run it at every start and now and then:
// once its change has been applied, a second one has nothing to do.
func (k *Keeper) Maintain(cfg rescind.StoreConfig, now time.Time) (rescind.Change, error) {
	p, err := k.plan(cfg, now, rescind.ActorSelf)
	if err != nil {
		return rescind.Change{}, err
	}
	return p.settle()
}

// Rotate implements [rescind.Keys]. A signing key is replaced at once if its
// successor has been published for PublishBefore; else it is marked, and
// Maintain replaces it as soon as that is so. ErrInvalid for the tag key, which
// never changes. The events have no actor: the caller knows it.
func (k *Keeper) Rotate(cfg rescind.StoreConfig, use rescind.KeyUse, now time.Time) (rescind.Change, error) {
	if use != rescind.KeyUseSign && use != rescind.KeyUseMAC {
		return rescind.Change{}, fmt.Errorf("%w: keys for %q do not rotate", rescind.ErrInvalid, use)
	}
	p, err := k.plan(cfg, now, "")
	if err != nil {
		return rescind.Change{}, err
	}
	current := p.find(use, rescind.KeyCurrent)
	marked := current != nil && !current.Due
	if marked {
		current.Due, current.changed = true, true
	}
	change, err := p.settle()
	if err != nil || !marked || current.State != rescind.KeyCurrent {
		return change, err
	}
	change.Events = append(change.Events, p.event(rescind.EventKeyRotated, current, "due as soon as its successor has been published for long enough"))
	return change, nil
}

// Revoke implements [rescind.Keys]. The key's material is deleted and only its
// name stays. A next signing key that takes its place does so at once, however
// young. Revoking twice changes nothing. ErrInvalid for the tag key, without
// which no session could be found again. The events have no actor: the caller
// knows it.
func (k *Keeper) Revoke(cfg rescind.StoreConfig, id rescind.KeyID, now time.Time) (rescind.Change, error) {
	p, err := k.plan(cfg, now, "")
	if err != nil {
		return rescind.Change{}, err
	}
	for _, one := range p.keys {
		switch {
		case one.id != id:
			continue
		case one.Use == rescind.KeyUseTag:
			return rescind.Change{}, fmt.Errorf("%w: the tag key cannot be revoked; end all sessions instead", rescind.ErrInvalid)
		case one.State == rescind.KeyRevoked:
			return p.change, nil
		}
		p.enter(one, rescind.KeyRevoked)
		one.secret = nil
		p.change.Ends = append(p.change.Ends, rescind.Ending{Kind: rescind.EndKey, Name: id.String(), At: p.now})
		p.tell(rescind.EventKeyRevoked, one, "")
		return p.settle()
	}
	return rescind.Change{}, fmt.Errorf("key %s: %w", id, rescind.ErrNotFound)
}

// settle does what is due and writes the plan down.
func (p *plan) settle() (rescind.Change, error) {
	for _, one := range p.keys {
		one.gone = p.forgotten(one)
	}
	for _, step := range []func() error{p.settleTag, p.settleMAC, p.settleSign} {
		if err := step(); err != nil {
			return rescind.Change{}, err
		}
	}
	for _, one := range p.keys {
		switch {
		case one.gone:
			p.change.Documents = append(p.change.Documents, rescind.Document{Kind: documentKind, ID: one.id.String()})
		case one.changed:
			d, err := p.keeper.seal(one)
			if err != nil {
				return rescind.Change{}, err
			}
			p.change.Documents = append(p.change.Documents, d)
		}
	}
	return p.change, nil
}

func (p *plan) settleTag() error {
	if !p.fresh { // open has made sure that there is one
		return nil
	}
	return p.create(rescind.KeyUseTag, rescind.KeyCurrent, algHMAC)
}

func (p *plan) settleMAC() error {
	current := p.find(rescind.KeyUseMAC, rescind.KeyCurrent)
	if current != nil && !p.due(current) {
		return nil
	}
	if err := p.create(rescind.KeyUseMAC, rescind.KeyCurrent, algHMAC); err != nil {
		return err
	}
	if current != nil {
		p.enter(current, rescind.KeyRetiring)
		p.tell(rescind.EventKeyRotated, current, "")
	}
	return nil
}

func (p *plan) settleSign() error {
	current, next := p.find(rescind.KeyUseSign, rescind.KeyCurrent), p.find(rescind.KeyUseSign, rescind.KeyNext)
	alg := p.keeper.opts.Algorithm
	switch {
	case current == nil && next == nil:
		if err := p.create(rescind.KeyUseSign, rescind.KeyCurrent, alg); err != nil {
			return err
		}
	case current == nil: // it was revoked: however young the next one is, something has to sign
		p.enter(next, rescind.KeyCurrent)
		next = nil
	case next != nil && next.Alg != alg: // it has signed nothing yet
		next.gone = true
		next = nil
	case next != nil && p.due(current) && p.age(next) >= p.keeper.opts.PublishBefore:
		p.enter(current, rescind.KeyRetiring)
		p.enter(next, rescind.KeyCurrent)
		p.tell(rescind.EventKeyRotated, current, "")
		next = nil
	}
	if next != nil {
		return nil
	}
	return p.create(rescind.KeyUseSign, rescind.KeyNext, alg)
}

// due reports whether a current key is to be replaced.
func (p *plan) due(k *key) bool {
	o := &p.keeper.opts
	return k.Due ||
		o.RotateEvery > 0 && p.age(k) >= o.RotateEvery ||
		k.Use == rescind.KeyUseSign && k.Alg != o.Algorithm
}

// forgotten reports whether nothing made with a key can be shown any more.
func (p *plan) forgotten(k *key) bool {
	switch {
	case k.State == rescind.KeyRetiring && k.Use == rescind.KeyUseSign:
		return p.age(k) >= p.keeper.opts.Retire
	case k.State == rescind.KeyRetiring || k.State == rescind.KeyRevoked:
		return p.age(k) >= rescind.MaxLifetime
	}
	return false
}

func (p *plan) age(k *key) time.Duration { return p.now.Sub(k.Since) }

func (p *plan) find(use rescind.KeyUse, state rescind.KeyState) *key {
	for _, one := range p.keys {
		if one.Use == use && one.State == state && !one.gone {
			return one
		}
	}
	return nil
}

func (p *plan) enter(k *key, state rescind.KeyState) {
	k.State, k.Since, k.Due, k.changed = state, p.now, false, true
}

func (p *plan) create(use rescind.KeyUse, state rescind.KeyState, alg string) error {
	secret, err := generate(alg)
	if err != nil {
		return err
	}
	k := &key{id: rescind.NewKeyID(), secret: secret, attributes: attributes{Use: use, Alg: alg, Created: p.now}}
	p.enter(k, state)
	p.keys = append(p.keys, k)
	p.tell(rescind.EventKeyCreated, k, "")
	return nil
}

func (p *plan) tell(kind rescind.EventKind, k *key, more string) {
	p.change.Events = append(p.change.Events, p.event(kind, k, more))
}

func (p *plan) event(kind rescind.EventKind, k *key, more string) rescind.Event {
	detail := fmt.Sprintf("%s %s, %s", k.Use, k.Alg, k.State)
	if more != "" {
		detail += "; " + more
	}
	return rescind.Event{At: p.now, Kind: kind, Actor: p.actor, Key: k.id.String(), Detail: detail}
}
