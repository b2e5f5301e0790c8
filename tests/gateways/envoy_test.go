package gateways

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	bootstrap "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	core "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	extauthz "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	hcm "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	envoytype "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"github.com/goccy/go-yaml"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	// The types that the configurations name.
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/http/early_header_mutation/header_mutation/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"

	"github.com/rescind/rescind/tests/server"
)

var ways = []string{"grpc", "http"}

// TestEnvoy holds the configurations against the types that Envoy's authors
// generate, and attacks a stand-in that does what Envoy documents for them: Envoy is
// in no Debian package. RESCIND_ENVOY names one to attack as well.
func TestEnvoy(t *testing.T) {
	for _, way := range ways {
		t.Run(way, func(t *testing.T) {
			t.Parallel()
			t.Run("StandIn", func(t *testing.T) {
				g, file := buildEnvoy(t, way)
				text, err := os.ReadFile(file)
				must(t, err)
				startStandIn(t, readEnvoy(t, text), g.gateway)
				g.suite(t)
			})
			if binary := os.Getenv("RESCIND_ENVOY"); binary != "" {
				t.Run("Itself", func(t *testing.T) {
					g, file := buildEnvoy(t, way)
					cmd := exec.Command(binary, "--config-path", file, "--use-dynamic-base-id", "--concurrency", "1", "--log-level", "warn")
					server.Spawn(t, cmd, g.gateway)
					g.suite(t)
				})
			}
		})
	}
}

// buildEnvoy starts what is around Envoy and writes a configuration with its ports.
func buildEnvoy(t *testing.T, way string) (*rig, string) {
	t.Helper()
	g := &rig{api: startAPI(t), ledger: startLedger(t), gateway: server.FreePort(t), normalises: true}
	file := filepath.Join(t.TempDir(), "envoy.yaml")
	// Envoy writes a port by itself.
	port := func(addr string) string { return "port_value: " + strings.TrimPrefix(addr, "127.0.0.1:") }
	g.configure(t, filepath.Join("envoy", way+".yaml"), file,
		"port_value: 8470", port(g.Addr()), "port_value: 8471", port(g.GRPC), "port_value: 9000", port(g.api.addr), "port_value: 8080", port(g.gateway))
	return g, file
}

// readEnvoy reads a configuration as Envoy would: unknown members, values that are
// out of bounds and unknown types are errors, at every depth.
func readEnvoy(t *testing.T, text []byte) *bootstrap.Bootstrap {
	t.Helper()
	b, err := parseEnvoy(text)
	must(t, err)
	return b
}

func parseEnvoy(text []byte) (*bootstrap.Bootstrap, error) {
	json, err := yaml.YAMLToJSON(text)
	if err != nil {
		return nil, err
	}
	b := &bootstrap.Bootstrap{}
	if err := protojson.Unmarshal(json, b); err != nil {
		return nil, err
	}
	return b, valid(b)
}

// valid also validates what is packed into a message.
func valid(m proto.Message) error {
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return err
		}
	}
	if packed, ok := m.(*anypb.Any); ok {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			return err
		}
		return valid(inner)
	}
	var err error
	m.ProtoReflect().Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap() && f.MapValue().Message() != nil:
			v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
				err = valid(v.Message().Interface())
				return err == nil
			})
		case f.IsList() && f.Message() != nil:
			for i := range v.List().Len() {
				if err = valid(v.List().Get(i).Message().Interface()); err != nil {
					break
				}
			}
		case !f.IsMap() && !f.IsList() && f.Message() != nil:
			err = valid(v.Message().Interface())
		}
		return err == nil
	})
	return err
}

// unpack reads what is packed as a T.
func unpack[T proto.Message](t *testing.T, packed *anypb.Any, into T) T {
	t.Helper()
	must(t, packed.UnmarshalTo(into))
	return into
}

func manager(t *testing.T, b *bootstrap.Bootstrap) *hcm.HttpConnectionManager {
	t.Helper()
	return unpack(t, b.GetStaticResources().GetListeners()[0].GetFilterChains()[0].GetFilters()[0].GetTypedConfig(), &hcm.HttpConnectionManager{})
}

// TestEnvoyIsClosed looks for the settings that a stand-in cannot show.
func TestEnvoyIsClosed(t *testing.T) {
	for _, way := range ways {
		text := read(t, "envoy/"+way+".yaml")
		m := manager(t, readEnvoy(t, text))
		if !m.GetUseRemoteAddress().GetValue() || !m.GetNormalizePath().GetValue() || !m.GetMergeSlashes() ||
			m.GetPathWithEscapedSlashesAction() != hcm.HttpConnectionManager_REJECT_REQUEST ||
			m.GetCommonHttpProtocolOptions().GetHeadersWithUnderscoresAction() != core.HttpProtocolOptions_DROP_HEADER || len(m.GetEarlyHeaderMutationExtensions()) != 1 {
			t.Errorf("%s: %v", way, m)
		}
		checks := 0
		for i, f := range m.GetHttpFilters() {
			if f.GetName() == "envoy.filters.http.router" {
				if i != len(m.GetHttpFilters())-1 {
					t.Errorf("%s: something comes after the router", way)
				}
				continue
			}
			checks++
			c := unpack(t, f.GetTypedConfig(), &extauthz.ExtAuthz{})
			if c.GetFailureModeAllow() || c.GetStatusOnError().GetCode() != envoytype.StatusCode_ServiceUnavailable || f.GetIsOptional() || f.GetDisabled() ||
				c.GetFilterEnabled() != nil || c.GetFilterEnabledMetadata() != nil || c.GetWithRequestBody() != nil || c.GetClearRouteCache() ||
				c.GetHttpService().GetAuthorizationResponse().GetAllowedUpstreamHeadersToAppend() != nil || c.GetTransportApiVersion() != core.ApiVersion_V3 {
				t.Errorf("%s: %v", way, c)
			}
			for _, allowed := range c.GetAllowedHeaders().GetPatterns() {
				name := allowed.GetExact()
				if name == "" || strings.Contains(name, "rescind") || slices.Contains([]string{"x-forwarded-method", "x-original-method", "x-forwarded-host"}, name) {
					t.Errorf("%s: a client may tell Rescind %v", way, allowed)
				}
			}
		}
		if checks == 0 {
			t.Errorf("%s: nothing is checked", way)
		}
	}
}

func TestAWrongEnvoyConfigurationTurnsRed(t *testing.T) {
	for _, way := range ways {
		text := read(t, "envoy/"+way+".yaml")
		for _, c := range [][2]string{
			{"failure_mode_allow:", "failure_mode_alow:"},
			{"ServiceUnavailable", "ServiceIsUnavailable"},
			{"ext_authz.v3.ExtAuthz\n", "ext_authz.v3.ExtAuth\n"},
			{"domains: [\"*\"]", "domains: []"},
			{"port_value: 8080", "port_value: 80800"},
			{"disabled: true", "enabled: false"},
			{"flags: [UAEX]", "flags: [UAXE]"},
		} {
			wrong := strings.Replace(string(text), c[0], c[1], 1)
			if _, err := parseEnvoy([]byte(wrong)); err == nil || wrong == string(text) {
				t.Errorf("%s: nobody notices %s", way, fmt.Sprint(c))
			}
		}
	}
}
