package state

import "strconv"

const (
	// MaxPartitions is the greatest number of partitions that the stores keep.
	MaxPartitions = 1024

	slots = 16384
	band  = slots / MaxPartitions
)

// hashTags returns one Redis hash tag for each partition, such that the first 2^n partitions are spread
// evenly over the slots whatever n is: partition p gets the smallest number whose slot lies in the band
// that p's ten bits, reversed, name. The table must never change: keys contain it.
func hashTags() []string {
	tags := make([]string, MaxPartitions)
	for n, left := 0, MaxPartitions; left > 0; n++ {
		tag := strconv.Itoa(n)
		p := reverse10(slot(tag) / band)
		if tags[p] == "" {
			tags[p] = tag
			left--
		}
	}
	return tags
}

// reverse10 reverses the ten lowest bits.
func reverse10(n int) int {
	r := 0
	for range 10 {
		r = r<<1 | n&1
		n >>= 1
	}
	return r
}

// slot is the Redis Cluster slot of a hash tag: CRC16 (XMODEM) modulo the number of slots.
func slot(tag string) int {
	var crc uint16
	for i := range len(tag) {
		crc ^= uint16(tag[i]) << 8
		for range 8 {
			if crc&0x8000 != 0 {
				crc = crc<<1 ^ 0x1021
			} else {
				crc <<= 1
			}
		}
	}
	return int(crc) % slots
}
