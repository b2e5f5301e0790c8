-- Asks Rescind about a request: "http-request lua.rescind URL", from HAProxy 2.6 on.
-- Sets txn.rescind_status, and from the answer txn.rescind_subject, _session, _client,
-- _scope and _challenge. Without an answer in time, or after an error in here, the status
-- is not 200, and haproxy.cfg lets nothing but 200 pass.

-- Milliseconds. HAProxy's client tries four times: nobody waits longer than 2 s. From 2.8 on,
-- httpclient.retries in the section global says how often.
local timeout = 500

-- What Rescind has to see of a request, as it came: two values stay two.
local passed = { "authorization", "cookie", "origin", "sec-fetch-site", "sec-fetch-mode", "upgrade", "sec-websocket-key" }

local identity = { subject = "x-rescind-subject", session = "x-rescind-session", client = "x-rescind-client",
	scope = "x-rescind-scope", challenge = "www-authenticate" }

core.register_action("rescind", { "http-req" }, function(txn, url)
	txn:set_var("txn.rescind_status", 0)
	local came, headers = txn.http:req_get_headers(), {}
	for _, name in ipairs(passed) do
		if came[name] then
			headers[name] = {}
			for i = 0, #came[name] do
				table.insert(headers[name], came[name][i])
			end
		end
	end
	headers["x-forwarded-method"] = { txn.f:method() }
	headers["x-forwarded-uri"] = { txn.f:pathq() }
	headers["x-forwarded-host"] = { txn.f:req_hdr("host") }
	headers["x-forwarded-proto"] = { txn.f:ssl_fc() == 1 and "https" or "http" }
	headers["x-forwarded-for"] = { txn.f:src() }

	local answer = core.httpclient():get { url = url, headers = headers, timeout = timeout }
	for name, header in pairs(identity) do
		local values = answer.headers and answer.headers[header]
		txn:set_var("txn.rescind_" .. name, values and values[0] or "")
	end
	txn:set_var("txn.rescind_status", answer.status or 0)
end, 1)
