// Command tour calls Berth over gRPC through stubs that were generated from proto/.
//
// It reads BERTH_ADDRESS and BERTH_KEY, prints one line of JSON, and ends with
// a message and status 1 at the first answer that is not as expected. With an
// argument it calls until its input ends instead, see steady.
package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	berthv1 "berth/v1"

	"google.golang.org/genproto/googleapis/api/httpbody"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

const (
	pieceBytes = 300_000
	timeout    = 30 * time.Second
)

// seen is what the tour prints.
type seen struct {
	Bytes    int64  `json:"bytes"`
	Messages int    `json:"messages"`
	Type     string `json:"content_type"`
	Code     string `json:"code"`
	Message  string `json:"message"`
	Reason   string `json:"reason"`
	Domain   string `json:"domain"`
}

type tour struct {
	containers berthv1.ContainerServiceClient
	files      berthv1.ContainerFileServiceClient
	seen       seen
}

func main() {
	task := run
	if len(os.Args) > 1 {
		task = steady
	}
	if err := task(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run() error {
	connection, err := grpc.NewClient(
		"passthrough:///"+os.Getenv("BERTH_ADDRESS"), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer connection.Close()
	ctx, cancel := context.WithTimeout(context.Background(), timeout)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "Bearer "+os.Getenv("BERTH_KEY"))
	t := &tour{
		containers: berthv1.NewContainerServiceClient(connection),
		files:      berthv1.NewContainerFileServiceClient(connection),
	}
	if err := t.walk(ctx); err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(t.seen)
}

func (t *tour) walk(ctx context.Context) error {
	container, err := t.create(ctx)
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	content := make([]byte, 2*pieceBytes)
	rand.Read(content)
	file, err := t.upload(ctx, container.Id, content)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	if err := t.list(ctx, container.Id, file); err != nil {
		return fmt.Errorf("list: %w", err)
	}
	if err := t.download(ctx, file, content); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	if err := t.delete(ctx, file); err != nil {
		return fmt.Errorf("delete: %w", err)
	}
	if err := t.notFound(ctx, container.Id); err != nil {
		return fmt.Errorf("retrieve after delete: %w", err)
	}
	return nil
}

func (t *tour) create(ctx context.Context) (*berthv1.Container, error) {
	created, err := t.containers.CreateContainer(ctx, &berthv1.CreateContainerRequest{
		Provider:     berthv1.Provider_PROVIDER_GROQ,
		Name:         "go stubs",
		ExpiresAfter: &berthv1.ExpiresAfter{Anchor: "last_active_at", Minutes: proto.Int32(5)},
		MemoryLimit:  proto.String("4g"),
		Metadata:     map[string]string{"tour": "go"},
	})
	if err != nil {
		return nil, err
	}
	expiry := created.GetExpiresAfter()
	if created.GetMemoryLimit() != "4g" || expiry.GetAnchor() != "last_active_at" || expiry.GetMinutes() != 5 ||
		created.GetStatus() != berthv1.ContainerStatus_CONTAINER_STATUS_RUNNING ||
		created.GetProvider() != berthv1.Provider_PROVIDER_GROQ || created.GetMetadata()["tour"] != "go" {
		return nil, fmt.Errorf("a field is not as it was given: %v", created)
	}
	retrieved, err := t.containers.RetrieveContainer(ctx, &berthv1.RetrieveContainerRequest{ContainerId: created.Id})
	if err != nil {
		return nil, err
	}
	created.ExtraFields, retrieved.ExtraFields = nil, nil
	if !proto.Equal(created, retrieved) {
		return nil, fmt.Errorf("created %v, retrieved %v", created, retrieved)
	}
	return created, nil
}

func (t *tour) upload(ctx context.Context, container string, content []byte) (*berthv1.ContainerFile, error) {
	stream, err := t.files.CreateContainerFile(ctx)
	if err != nil {
		return nil, err
	}
	messages := []*berthv1.CreateContainerFileRequest{
		{
			ContainerId: container,
			FilePath:    proto.String("in/data.bin"),
			Body:        &httpbody.HttpBody{ContentType: "application/x-data", Data: content[:pieceBytes]},
		},
		{Body: &httpbody.HttpBody{Data: content[pieceBytes:]}},
	}
	for _, message := range messages {
		if err := stream.Send(message); err != nil {
			_, err = stream.CloseAndRecv() // the reason; Send itself says only EOF
			return nil, err
		}
	}
	file, err := stream.CloseAndRecv()
	if err != nil {
		return nil, err
	}
	if file.Bytes != int64(len(content)) || file.Path != "/mnt/data/in/data.bin" || file.ContainerId != container {
		return nil, fmt.Errorf("a field is not as it was given: %v", file)
	}
	t.seen.Bytes = file.Bytes
	return file, nil
}

func (t *tour) list(ctx context.Context, container string, file *berthv1.ContainerFile) error {
	page, err := t.files.ListContainerFiles(ctx, &berthv1.ListContainerFilesRequest{ContainerId: container})
	if err != nil {
		return err
	}
	if len(page.Data) != 1 || page.Data[0].Id != file.Id || page.FirstId != file.Id || page.HasMore {
		return fmt.Errorf("unexpected page: %v", page)
	}
	return nil
}

func (t *tour) download(ctx context.Context, file *berthv1.ContainerFile, content []byte) error {
	stream, err := t.files.RetrieveContainerFileContent(ctx, &berthv1.RetrieveContainerFileContentRequest{
		ContainerId: file.ContainerId, FileId: file.Id,
	})
	if err != nil {
		return err
	}
	var received []byte
	for {
		message, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if t.seen.Messages == 0 {
			t.seen.Type = message.ContentType
		}
		t.seen.Messages++
		received = append(received, message.Data...)
	}
	if !bytes.Equal(received, content) {
		return fmt.Errorf("%d bytes came back that differ from the %d that were sent", len(received), len(content))
	}
	return nil
}

func (t *tour) delete(ctx context.Context, file *berthv1.ContainerFile) error {
	gone, err := t.files.DeleteContainerFile(ctx, &berthv1.DeleteContainerFileRequest{
		ContainerId: file.ContainerId, FileId: file.Id,
	})
	if err != nil {
		return err
	}
	if gone.Id != file.Id || !gone.Deleted {
		return fmt.Errorf("unexpected answer: %v", gone)
	}
	deleted, err := t.containers.DeleteContainer(ctx, &berthv1.DeleteContainerRequest{ContainerId: file.ContainerId})
	if err != nil {
		return err
	}
	if deleted.Id != file.ContainerId || !deleted.Deleted {
		return fmt.Errorf("unexpected answer: %v", deleted)
	}
	return nil
}

func (t *tour) notFound(ctx context.Context, container string) error {
	_, err := t.containers.RetrieveContainer(ctx, &berthv1.RetrieveContainerRequest{ContainerId: container})
	refusal := status.Convert(err)
	if refusal.Code() != codes.NotFound {
		return fmt.Errorf("expected NotFound, got %v", err)
	}
	t.seen.Code, t.seen.Message = refusal.Code().String(), refusal.Message()
	for _, detail := range refusal.Details() {
		if info, ok := detail.(*errdetails.ErrorInfo); ok {
			t.seen.Reason, t.seen.Domain = info.Reason, info.Domain
		}
	}
	if t.seen.Reason == "" {
		return fmt.Errorf("no ErrorInfo in %v", refusal.Details())
	}
	return nil
}
