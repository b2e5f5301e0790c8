package httpapi

import (
	"cmp"
	"encoding/json"
	"net/http"
	"slices"
	"strings"

	"github.com/swaggest/jsonschema-go"
	"github.com/swaggest/openapi-go"
	"github.com/swaggest/openapi-go/openapi31"

	"github.com/rescind/rescind"
)

// document makes the OpenAPI 3.1 document from the table of routes, so that the
// two cannot differ.
func document(routes []*route, issuer, version string) ([]byte, error) {
	r := openapi31.NewReflector()
	// The names of Go packages are nobody's business but ours.
	r.DefaultOptions = append(r.DefaultOptions, jsonschema.StripDefinitionNamePrefix("Httpapi", "Rescind"),
		jsonschema.InterceptProp(member), jsonschema.InterceptNullability(notNull))
	r.AddTypeMapping(rescind.Duration(0), "")
	r.Spec.SetTitle("Rescind")
	r.Spec.SetVersion(cmp.Or(version, "unknown"))
	r.Spec.SetDescription("Tokens that end at logout. Under /oauth/ errors are those of RFC 6749, elsewhere problem details (RFC 9457). " +
		"For gateways there are, besides, " + forwardAuthPath + " and " + forwardRulesPath + "{name}: they take any method and any path that begins so, and answer 200, 401, 403 or 503.")
	r.Spec.WithServers(openapi31.Server{URL: strings.TrimSuffix(issuer, "/")})
	r.Spec.SetHTTPBasicSecurity("client", "A client's id and secret, form-encoded (RFC 6749 section 2.3.1).")
	r.Spec.SetHTTPBearerTokenSecurity("token", "", "The token itself is the credential.")

	for _, rt := range routes {
		oc, err := r.NewOperationContext(rt.method, rt.path)
		if err != nil {
			return nil, err
		}
		oc.SetSummary(rt.summary)
		oc.SetID(operationID(rt))
		switch rt.credential {
		case anyClient, secretClient:
			oc.AddSecurity("client")
		case bearer:
			oc.AddSecurity("token")
		}
		if rt.credential == anyClient || (rt.credential == secretClient && rt.style == oauth) || rt.credential == bearer {
			exposeOptionalSecurity(oc)
		}
		if len(rt.roles) > 0 {
			words := make([]string, len(rt.roles))
			for i, role := range rt.roles {
				words[i] = string(role)
			}
			oc.SetDescription("Needs one of the roles " + strings.Join(append(words, "admin"), ", ") + ".")
		}
		if rt.request != nil {
			oc.AddReqStructure(rt.request, openapi.WithCustomize(func(cor openapi.ContentOrReference) {
				if body, ok := cor.(*openapi31.RequestBodyOrReference); ok && body.RequestBody != nil {
					body.RequestBody.WithRequired(rt.credential != bearer)
				}
			}))
		}
		statuses := []int{cmp.Or(rt.status, http.StatusOK)}
		if rt.path == "/v1/revocations" {
			statuses = append(statuses, http.StatusAccepted)
		}
		for _, status := range statuses {
			if rt.response == nil {
				oc.AddRespStructure(nil, openapi.WithHTTPStatus(status))
				continue
			}
			oc.AddRespStructure(rt.response, openapi.WithHTTPStatus(status), openapi.WithContentType(cmp.Or(rt.mime, "application/json")))
		}
		failure, mime := any(problem{}), "application/problem+json"
		if rt.style == oauth {
			failure, mime = oauthError{}, "application/json"
		}
		oc.AddRespStructure(failure, func(cu *openapi.ContentUnit) { cu.IsDefault, cu.Description = true, "Any error" }, openapi.WithContentType(mime))
		if err := r.AddOperation(oc); err != nil {
			return nil, err
		}
	}
	return json.Marshal(r.Spec)
}

// member says what the decoder and the encoder do: what is never left out is
// required, a request has no other members, and a hash is not shown.
func member(p jsonschema.InterceptPropParams) error {
	tag := p.Field.Tag.Get("json")
	if tag == "" || !p.Processed {
		return nil
	}
	if p.Name == "secret_hash" {
		return jsonschema.ErrSkipProperty
	}
	if !strings.Contains(tag, ",omit") && !slices.Contains(p.ParentSchema.Required, p.Name) {
		p.ParentSchema.Required = append(p.ParentSchema.Required, p.Name)
	}
	if p.Context != nil && len(p.Context.Path) > 0 {
		if oc, ok := openapi.OperationCtx(p.Context); ok && !oc.IsProcessingResponse() {
			p.ParentSchema.WithAdditionalProperties(*(&jsonschema.SchemaOrBool{}).WithTypeBoolean(false))
		}
	}
	return nil
}

// notNull: an empty list is written as one.
func notNull(p jsonschema.InterceptNullabilityParams) {
	if p.NullAdded {
		p.Schema.RemoveType(jsonschema.Null)
	}
}

// exposeOptionalSecurity says that the credential may also stand in the body.
func exposeOptionalSecurity(oc openapi.OperationContext) {
	if o, ok := oc.(openapi31.OperationExposer); ok {
		op := o.Operation()
		op.Security = append(op.Security, map[string][]string{})
	}
}

// operationID is the method and the path in one word.
func operationID(rt *route) string {
	words := strings.FieldsFunc(rt.path, func(r rune) bool { return strings.ContainsRune("/{}.-_", r) })
	id := strings.ToLower(rt.method)
	for _, w := range words {
		id += strings.ToUpper(w[:1]) + w[1:]
	}
	return id
}
