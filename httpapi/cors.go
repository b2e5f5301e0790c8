package httpapi

// Scripts of other origins may call token, revoke and logout, and only from the
// origins that the configuration names. The answers never allow credentials: the
// browser keeps cookies out, and the server reads none there anyway.

// allowOrigin marks an answer as readable by the calling script.
func (c *call) allowOrigin() bool {
	if len(c.origins) == 0 {
		return false
	}
	h := c.w.Header()
	h.Add("Vary", "Origin")
	origin := c.r.Header["Origin"]
	if len(origin) != 1 || !c.origins[origin[0]] {
		return false
	}
	h.Set("Access-Control-Allow-Origin", origin[0])
	h.Set("Access-Control-Expose-Headers", "Retry-After, WWW-Authenticate")
	return true
}

// preflight answers the question a browser asks first; run has put in whether
// this origin is one of ours.
func (c *call) preflight() bool {
	h := c.w.Header()
	if h.Get("Access-Control-Allow-Origin") == "" || c.r.Header.Get("Access-Control-Request-Method") == "" {
		return false
	}
	h.Set("Access-Control-Allow-Methods", "POST")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type")
	h.Set("Access-Control-Max-Age", "600")
	return true
}
