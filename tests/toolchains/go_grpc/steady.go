package main

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"sync"
	"time"

	berthv1 "berth/v1"

	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/metadata"
)

// serviceConfig is what docs/grpc-clients.md recommends.
const serviceConfig = `{"methodConfig": [{
	"name": [{"service": "berth.v1.ContainerService"}],
	"waitForReady": true,
	"timeout": "20s",
	"retryPolicy": {
		"maxAttempts": 5, "initialBackoff": "0.2s", "maxBackoff": "2s", "backoffMultiplier": 2,
		"retryableStatusCodes": ["UNAVAILABLE", "CANCELLED"]
	}
}]}`

const steadyCallers = 8

type steadySeen struct {
	lock     sync.Mutex
	Created  int      `json:"created"`
	Failures []string `json:"failures"`
}

// steady lists and creates containers until its input has a byte; it prints a line after the first
// calls, and at the end one line of JSON.
func steady() error {
	connection, err := grpc.NewClient(
		"passthrough:///"+os.Getenv("BERTH_ADDRESS"),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithDefaultServiceConfig(serviceConfig),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: 30 * time.Second, Timeout: 10 * time.Second, PermitWithoutStream: true,
		}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 200 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: 2 * time.Second},
			MinConnectTimeout: 5 * time.Second,
		}),
	)
	if err != nil {
		return err
	}
	defer connection.Close()
	stop := make(chan struct{})
	go func() {
		os.Stdin.Read(make([]byte, 1))
		close(stop)
	}()
	seen := steadySeen{Failures: []string{}}
	containers := berthv1.NewContainerServiceClient(connection)
	seen.round(containers)
	fmt.Println("started")
	var callers sync.WaitGroup
	for range steadyCallers {
		callers.Add(1)
		go func() {
			defer callers.Done()
			seen.repeat(containers, stop)
		}()
	}
	callers.Wait()
	return json.NewEncoder(os.Stdout).Encode(&seen)
}

func (s *steadySeen) repeat(containers berthv1.ContainerServiceClient, stop <-chan struct{}) {
	for {
		select {
		case <-stop:
			return
		case <-time.After(10 * time.Millisecond):
			s.round(containers)
		}
	}
}

func (s *steadySeen) round(containers berthv1.ContainerServiceClient) {
	ctx := metadata.AppendToOutgoingContext(context.Background(), "authorization", "Bearer "+os.Getenv("BERTH_KEY"))
	provider := berthv1.Provider_PROVIDER_GROQ
	_, listing := containers.ListContainers(ctx, &berthv1.ListContainersRequest{Provider: provider})
	keyed := metadata.AppendToOutgoingContext(ctx, "idempotency-key", rand.Text())
	request := &berthv1.CreateContainerRequest{Provider: provider, Name: "steady"}
	_, creating := containers.CreateContainer(keyed, request)
	s.lock.Lock()
	defer s.lock.Unlock()
	for _, err := range []error{listing, creating} {
		if err != nil {
			s.Failures = append(s.Failures, err.Error())
		}
	}
	if creating == nil {
		s.Created++
	}
}
