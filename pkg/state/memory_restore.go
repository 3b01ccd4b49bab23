package state

import "context"

// Restore implements Store.
func (m *Memory) Restore(ctx context.Context, shard Shard, piece Piece) (int, error) {
	if err := admit(ctx, shard.Partition); err != nil {
		return 0, err
	}
	if err := piece.check(); err != nil {
		return 0, err
	}
	p := m.partition(shard.Partition)
	p.mu.Lock()
	defer p.mu.Unlock()
	s := p.shard(shard.Stage)
	switch {
	case s.image == piece.Image:
	case piece.From > 0 && s.meta.Applied == 0 && s.image == "" && s.target == 0:
		return 0, nil
	case piece.From > 0 || s.meta.Applied != piece.Over:
		return 0, &FencedError{Applied: s.meta.Applied}
	default:
		s = p.blank(shard.Stage)
		s.image, s.meta.Unfinished = piece.Image, true
	}
	done := s.at - piece.From
	if done < 0 || done > len(piece.Writes) || done > 0 && done == len(piece.Writes) && piece.Meta == nil {
		return s.at, nil
	}
	p.begin(shard.Stage, s)
	defer s.finish()
	for i := done; i < len(piece.Writes); i++ {
		s.row(&piece.Writes[i], piece.Writes[i].Sequence)
		s.deltas(&piece.Writes[i])
		s.at++
	}
	at := s.at
	if piece.Meta != nil {
		s.image, s.at = "", 0
		s.advance(*piece.Meta)
	}
	return at, nil
}

// blank puts an empty shard in the place of a stage's.
func (p *memoryPartition) blank(stage string) *memoryShard {
	was := p.shards[stage]
	p.past.begin(func() {
		if was == nil {
			delete(p.shards, stage)
			return
		}
		p.shards[stage] = was
	})
	s := newMemoryShard()
	p.shards[stage] = s
	return s
}
