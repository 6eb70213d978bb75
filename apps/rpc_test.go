package apps

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"
	"time"

	"connectrpc.com/connect"
	"google.golang.org/protobuf/types/known/structpb"
)

type (
	message = structpb.Struct
	nextKey struct{}
)

// greetings is a service of three procedures.
func greetings() http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/greet.v1.Greetings/Greet", connect.NewUnaryHandler("/greet.v1.Greetings/Greet",
		func(ctx context.Context, r *connect.Request[message]) (*connect.Response[message], error) {
			fields := r.Msg.GetFields()
			name := fields["name"].GetStringValue()
			switch name {
			case "":
				err := connect.NewError(connect.CodeInvalidArgument, errors.New("no name"))
				err.Meta().Set("X-Field", "name")
				return nil, err
			case "nobody":
				return nil, connect.NewError(connect.CodeNotFound, errors.New("nobody"))
			case "late":
				if _, ok := ctx.Deadline(); !ok {
					return nil, errors.New("no deadline")
				}
				<-ctx.Done()
				return nil, ctx.Err()
			case "broken":
				return nil, errors.New("broken")
			}
			m, err := structpb.NewStruct(map[string]any{"greeting": "Hello, " + name + "!", "key": r.Header().Get("X-Key")})
			if err != nil {
				return nil, err
			}
			resp := connect.NewResponse(m)
			resp.Header().Set("X-Header", "1")
			resp.Trailer().Set("X-Trailer", "2") // Trailer-X-Trailer, over HTTP/1.1
			return resp, nil
		}))
	mux.Handle("/greet.v1.Greetings/Count", connect.NewServerStreamHandler("/greet.v1.Greetings/Count",
		func(ctx context.Context, r *connect.Request[message], stream *connect.ServerStream[message]) error {
			for i := range int(r.Msg.GetFields()["to"].GetNumberValue()) {
				m, err := structpb.NewStruct(map[string]any{"n": i})
				if err != nil {
					return err
				}
				if err := stream.Send(m); err != nil {
					return err
				}
				if next, ok := ctx.Value(nextKey{}).(chan bool); ok {
					select {
					case <-next:
					case <-ctx.Done():
						return ctx.Err()
					}
				}
			}
			return connect.NewError(connect.CodeOutOfRange, errors.New("that is all"))
		}))
	mux.Handle("/greet.v1.Greetings/Sum", connect.NewClientStreamHandler("/greet.v1.Greetings/Sum",
		func(_ context.Context, stream *connect.ClientStream[message]) (*connect.Response[message], error) {
			sum := 0.0
			for stream.Receive() {
				sum += stream.Msg().GetFields()["n"].GetNumberValue()
			}
			m, err := structpb.NewStruct(map[string]any{"sum": sum})
			return connect.NewResponse(m), errors.Join(stream.Err(), err)
		}))
	return mux
}

func TestConnect(t *testing.T) {
	const greet = "/greet.v1.Greetings/Greet"
	same(t, only(greetings()), []request{
		{name: "greet", method: "POST", target: greet, header: asJSON + "\nConnect-Protocol-Version: 1\nX-Key: k", body: `{"name":"Ada"}`},
		{name: "compressed", method: "POST", target: greet, header: asJSON + "\nAccept-Encoding: gzip", body: `{"name":"Ada"}`},
		{name: "invalid", method: "POST", target: greet, header: asJSON, body: `{}`},
		{name: "not found", method: "POST", target: greet, header: asJSON, body: `{"name":"nobody"}`},
		{name: "broken", method: "POST", target: greet, header: asJSON, body: `{"name":"broken"}`},
		{name: "deadline", method: "POST", target: greet, header: asJSON + "\nConnect-Timeout-Ms: 1", body: `{"name":"late"}`},
		{name: "deadline that is none", method: "POST", target: greet, header: asJSON + "\nConnect-Timeout-Ms: x", body: `{"name":"Ada"}`},
		{name: "no JSON", method: "POST", target: greet, header: asJSON, body: `{"name"`},
		{name: "unknown type", method: "POST", target: greet, header: "Content-Type: text/plain", body: `x`},
		{name: "unknown compression", method: "POST", target: greet, header: asJSON + "\nContent-Encoding: br", body: `x`},
		{name: "GET", target: greet},
		{name: "unknown procedure", method: "POST", target: "/greet.v1.Greetings/None", header: asJSON, body: `{}`},
		{name: "stream", method: "POST", target: "/greet.v1.Greetings/Count", header: "Content-Type: application/connect+json", body: "\x00\x00\x00\x00\x08{\"to\":3}"},
		{name: "gRPC-Web", method: "POST", target: "/greet.v1.Greetings/Count", header: "Content-Type: application/grpc-web+json", body: "\x00\x00\x00\x00\x08{\"to\":3}"},
		{name: "gRPC-Web error", method: "POST", target: greet, header: "Content-Type: application/grpc-web+json", body: "\x00\x00\x00\x00\x11{\"name\":\"nobody\"}"},
	})
}

// connect's own client: an answer is there before the next is sent, calls end when the
// client's context does.
func TestConnectClient(t *testing.T) {
	next := make(chan bool)
	app := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		greetings().ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), nextKey{}, next)))
	})
	onEachWithProxy(t, only(app), func(t *testing.T, s *site) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		for name, options := range map[string][]connect.ClientOption{"connect": {connect.WithProtoJSON()}, "gRPC-Web": {connect.WithGRPCWeb()}} {
			client := func(procedure string) *connect.Client[message, message] {
				return connect.NewClient[message, message](s.client, s.url("/greet.v1.Greetings/"+procedure), options...)
			}
			to, _ := structpb.NewStruct(map[string]any{"to": 3, "name": "Ada"})
			resp, err := client("Greet").CallUnary(ctx, connect.NewRequest(to))
			if err != nil || resp.Msg.GetFields()["greeting"].GetStringValue() != "Hello, Ada!" || resp.Header().Get("X-Header") != "1" || resp.Trailer().Get("X-Trailer") != "2" {
				t.Errorf("%s: %v, %v", name, resp, err)
			}
			stream, err := client("Count").CallServerStream(ctx, connect.NewRequest(to))
			if err != nil {
				t.Fatal(err)
			}
			for i := range 3 {
				if !stream.Receive() || stream.Msg().GetFields()["n"].GetNumberValue() != float64(i) {
					t.Fatalf("%s: %v, %v", name, stream.Msg(), stream.Err())
				}
				give(t, "leave to go on", next, true)
			}
			if stream.Receive() || connect.CodeOf(stream.Err()) != connect.CodeOutOfRange {
				t.Errorf("%s: %v", name, stream.Err())
			}
			_ = stream.Close()
			up := client("Sum").CallClientStream(ctx)
			for i := range 10 {
				m, _ := structpb.NewStruct(map[string]any{"n": i})
				if err := up.Send(m); err != nil && !errors.Is(err, io.EOF) {
					t.Error(err)
				}
			}
			if sum, err := up.CloseAndReceive(); err != nil || sum.Msg.GetFields()["sum"].GetNumberValue() != 45 {
				t.Errorf("%s: %v, %v", name, sum, err)
			}
			soon, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
			late, _ := structpb.NewStruct(map[string]any{"name": "late"})
			if _, err := client("Greet").CallUnary(soon, connect.NewRequest(late)); connect.CodeOf(err) != connect.CodeDeadlineExceeded {
				t.Errorf("%s: %v", name, err)
			}
			cancel()
		}
	})
}
