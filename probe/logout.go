package probe

import "context"

// logoutExperiment replays what a session held after its logout.
func logoutExperiment() experiment {
	return experiment{
		name:   "logout",
		checks: []string{"access-token-alive-after-logout"},
		run: func(ctx context.Context, r *run) ([]Result, error) {
			return nil, nil
		},
	}
}
