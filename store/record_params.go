package store

import (
	"maps"
	"slices"

	"github.com/holdd/holdd/worker/hold"
	"google.golang.org/protobuf/encoding/protowire"
)

func appendCaptureParams(b []byte, p *hold.CaptureParams) []byte {
	b = appendNumberField(b, fieldApplicationFee, uint64(p.ApplicationFeeAmount))
	b = appendNumberField(b, fieldTransferAmount, uint64(p.TransferData.Amount))
	b = appendTextField(b, fieldDescriptorSuffix, p.StatementDescriptorSuffix)
	return appendMapField(b, fieldCaptureMetadata, p.CaptureMetadata)
}

// appendMapField appends a field for each pair, sorted by key.
func appendMapField(b []byte, f protowire.Number, pairs map[string]string) []byte {
	for _, k := range slices.Sorted(maps.Keys(pairs)) {
		pair := protowire.AppendString(protowire.AppendString(nil, k), pairs[k])
		b = appendBytesField(b, f, pair)
	}
	return b
}

// decodeCaptureParamField sets a parameter that has a single value. It reports
// whether the field is one.
func decodeCaptureParamField(
	p *hold.CaptureParams, f protowire.Number, n uint64, v []byte,
) (known bool) {
	switch f {
	case fieldApplicationFee:
		p.ApplicationFeeAmount = int64(n)
	case fieldTransferAmount:
		p.TransferData.Amount = int64(n)
	case fieldDescriptorSuffix:
		p.StatementDescriptorSuffix = string(v)
	default:
		return false
	}
	return true
}

// decodeMapEntry adds a pair to m.
func decodeMapEntry(m *map[string]string, pair []byte) error {
	key, size := protowire.ConsumeString(pair)
	if size < 0 {
		return hold.ErrUnreadableRecord
	}
	value, size := protowire.ConsumeString(pair[size:])
	if size < 0 {
		return hold.ErrUnreadableRecord
	}
	if *m == nil {
		*m = map[string]string{}
	}
	(*m)[key] = value
	return nil
}
