package main

import (
	"errors"
	"fmt"
	"strings"
	"unicode"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pb "p2pshare.example/go/p2pv1"
)

// Exit codes, as p2p-client has them.
const (
	exitInternal  = 1
	exitUsage     = 2
	exitNotFound  = 3
	exitAmbiguous = 4
	exitDirectory = 5
	exitTransfer  = 6
	exitRefused   = 7
)

// failure ends the program: an exit code, a reason for programs, a sentence for people.
type failure struct {
	exit    int
	reason  string
	message string
}

func (f *failure) Error() string { return f.message }

func failf(exit int, reason, format string, args ...any) *failure {
	return &failure{exit, reason, fmt.Sprintf(format, args...)}
}

const errorDomain = "p2p.v1"

// refuse builds the error that a source answers: status code, reason, facts as key, value, ….
func refuse(code codes.Code, reason pb.ErrorReason, message string, facts ...string) error {
	info := &errdetails.ErrorInfo{
		Reason:   reasonName(reason),
		Domain:   errorDomain,
		Metadata: map[string]string{},
	}
	for i := 0; i+1 < len(facts); i += 2 {
		info.Metadata[facts[i]] = facts[i+1]
	}
	st, err := status.New(code, message).WithDetails(info)
	if err != nil {
		return status.Error(code, message)
	}
	return st.Err()
}

// reasonName is a reason as it stands on the wire.
func reasonName(reason pb.ErrorReason) string {
	return strings.TrimPrefix(reason.String(), "ERROR_REASON_")
}

// reasonOf tells the ErrorReason of an answer, UNSPECIFIED where it has none that we know.
func reasonOf(err error) pb.ErrorReason {
	for _, detail := range status.Convert(err).Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok && info.GetDomain() == errorDomain {
			return pb.ErrorReason(pb.ErrorReason_value["ERROR_REASON_"+info.GetReason()])
		}
	}
	return pb.ErrorReason_ERROR_REASON_UNSPECIFIED
}

// explain turns an answer of the network into a line that is safe to print.
func explain(err error) string {
	if st, ok := status.FromError(err); ok {
		if reason := reasonOf(err); reason != 0 {
			return printable(fmt.Sprintf("%s (%s)", st.Message(), reasonName(reason)))
		}
		return printable(fmt.Sprintf("%s (%s)", st.Message(), st.Code()))
	}
	return printable(err.Error())
}

// printable replaces what must not reach a terminal and bounds the length.
func printable(text string) string {
	safe := strings.Map(func(r rune) rune {
		if unicode.IsGraphic(r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
	if runes := []rune(safe); len(runes) > 300 {
		safe = string(runes[:300]) + "…"
	}
	return safe
}

// asFailure gives every error an exit code.
func asFailure(err error) *failure {
	var f *failure
	if errors.As(err, &f) {
		return f
	}
	return failf(exitInternal, "INTERNAL", "%s", printable(err.Error()))
}
