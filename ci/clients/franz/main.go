// Drives a broker with franz-go, without a consumer group: administers a topic, produces idempotently from many
// goroutines, and reads the partitions back directly.
//
//	franz HOST:PORT TOPIC
package main

import (
	"context"
	"fmt"
	"os"
	"sync"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
)

const (
	partitions   = 3
	perPartition = 2000
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Second)
	defer cancel()
	if err := run(ctx, os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, broker, topic string) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer client.Close()
	admin := kadm.NewClient(client)

	if err := administer(ctx, admin, topic); err != nil {
		return fmt.Errorf("administer: %w", err)
	}
	if err := produce(ctx, client, topic); err != nil {
		return fmt.Errorf("produce: %w", err)
	}
	ends, err := admin.ListEndOffsets(ctx, topic)
	if err != nil {
		return err
	}
	for p := int32(0); p < partitions; p++ {
		if end, _ := ends.Lookup(topic, p); end.Offset != perPartition {
			return fmt.Errorf("partition %d ends at %d, want %d", p, end.Offset, perPartition)
		}
	}
	for _, codec := range []kgo.CompressionCodec{kgo.GzipCompression(), kgo.SnappyCompression(),
		kgo.Lz4Compression(), kgo.ZstdCompression()} {
		if err := compressed(ctx, broker, topic, codec); err != nil {
			return fmt.Errorf("compressed: %w", err)
		}
	}
	if err := consume(ctx, broker, topic); err != nil {
		return fmt.Errorf("consume: %w", err)
	}
	deleted, err := admin.DeleteTopics(ctx, topic)
	if err != nil {
		return err
	}
	return deleted.Error()
}

func administer(ctx context.Context, admin *kadm.Client, topic string) error {
	created, err := admin.CreateTopic(ctx, 1, -1, map[string]*string{"retention.ms": kadm.StringPtr("3600000")}, topic)
	if err != nil {
		return err
	}
	if created.ID == (kadm.TopicID{}) {
		return fmt.Errorf("no topic id")
	}
	if again, err := admin.CreateTopic(ctx, 1, -1, nil, topic); err != kerr.TopicAlreadyExists {
		return fmt.Errorf("creating it again: %v, %v", again.Err, err)
	}
	grown, err := admin.UpdatePartitions(ctx, partitions, topic)
	if err != nil {
		return err
	}
	if err := grown.Error(); err != nil {
		return err
	}
	configs, err := admin.DescribeTopicConfigs(ctx, topic)
	if err != nil {
		return err
	}
	described, err := configs.On(topic, nil)
	if err != nil {
		return err
	}
	for _, config := range described.Configs {
		if config.Key == "retention.ms" && config.MaybeValue() == "3600000" {
			return nil
		}
	}
	return fmt.Errorf("retention.ms is not what was set: %v", described.Configs)
}

func produce(ctx context.Context, client *kgo.Client, topic string) error {
	var group sync.WaitGroup
	failures := make(chan error, partitions*perPartition)
	for p := int32(0); p < partitions; p++ {
		for i := 0; i < perPartition; i++ {
			group.Add(1)
			record := &kgo.Record{Topic: topic, Partition: p, Value: fmt.Appendf(nil, "%d", i)}
			client.Produce(ctx, record, func(_ *kgo.Record, err error) {
				defer group.Done()
				if err != nil {
					failures <- err
				}
			})
		}
	}
	group.Wait()
	select {
	case err := <-failures:
		return err
	default:
		return nil
	}
}

// compressed adds one batch of a codec to partition 0.
func compressed(ctx context.Context, broker, topic string, codec kgo.CompressionCodec) error {
	client, err := kgo.NewClient(kgo.SeedBrokers(broker), kgo.ProducerBatchCompression(codec),
		kgo.RecordPartitioner(kgo.ManualPartitioner()))
	if err != nil {
		return err
	}
	defer client.Close()
	records := make([]*kgo.Record, 100)
	for i := range records {
		records[i] = &kgo.Record{Topic: topic, Partition: 0, Value: []byte("the same words again and again")}
	}
	return client.ProduceSync(ctx, records...).FirstErr()
}

func consume(ctx context.Context, broker, topic string) error {
	from := map[int32]kgo.Offset{}
	want := map[int32]int{}
	for p := int32(0); p < partitions; p++ {
		from[p] = kgo.NewOffset().AtStart()
		want[p] = perPartition
	}
	want[0] += 400
	client, err := kgo.NewClient(kgo.SeedBrokers(broker),
		kgo.ConsumePartitions(map[string]map[int32]kgo.Offset{topic: from}))
	if err != nil {
		return err
	}
	defer client.Close()
	got := map[int32]int{}
	for left := partitions*perPartition + 400; left > 0; {
		fetches := client.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			return err
		}
		for _, record := range fetches.Records() {
			i := got[record.Partition]
			if record.Offset != int64(i) || (i < perPartition && string(record.Value) != fmt.Sprint(i)) {
				return fmt.Errorf("partition %d: offset %d holds %q, want %d",
					record.Partition, record.Offset, record.Value, i)
			}
			got[record.Partition]++
			left--
		}
	}
	fmt.Println(got)
	return nil
}
