using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Ops.Attention;

namespace Bellman.Kernels.Ops.PagedAttention;

/// <content>The kernel of one part of 256 tokens.</content>
internal static partial class PagedAttentionCuda
{
    /// <summary>
    /// A warp a row. What a row computes is the same, bit by bit, whether it reads pages for itself or the block reads them for all of
    /// its rows.
    /// </summary>
    private sealed class PartKernel
    {
        private readonly KernelBuilder _k;
        private readonly Shape _shape;
        private readonly int _rows, _d, _p, _together;
        private readonly Floats _qkv, _keys, _values, _sums, _scales;
        private readonly Pointer<S32> _pageTable;
        private readonly S32 _maxPages, _pages, _parts, _row, _firstHead, _group, _part, _first, _end, _sequence;
        private readonly Shared<F32> _queries, _weights;
        private readonly Shared<S32> _pageOf;
        private readonly RowTile _tile;
        private readonly Variable<F32>[] _max, _sum;
        private readonly Variable<F32>[][] _output;

        public PartKernel(Shape shape, int rows)
        {
            (_shape, _rows, _d, _p, _together) = (shape, rows, shape.Heads.HeadDimension, shape.PageTokens, shape.Together);
            KernelBuilder k = _k = new($"paged_attention_{(rows == 1 ? "one_" : "")}{shape}", Lanes * rows);
            _qkv = k.ArgumentFloats("qkv", shape.Type);
            Pointer<S32> rowSequence = k.ArgumentIntegers("rowSequence"), rowLength = k.ArgumentIntegers("rowLength");
            _pageTable = k.ArgumentIntegers("pageTable");
            (_keys, _values) = (k.ArgumentFloats("keys", shape.Type), k.ArgumentFloats("values", shape.Type));
            (_sums, _scales) = (Table(k, "sums"), Table(k, "scales"));
            S32 count = k.ArgumentS32("rows"), sequences = k.ArgumentS32("sequences");
            (_maxPages, _pages, _parts) = (k.ArgumentS32("maxPages"), k.ArgumentS32("pages"), k.ArgumentS32("parts"));
            (_firstHead, _part) = (k.BlockY * _together, k.BlockZ);
            _group = _firstHead / shape.Heads.Group;
            S32 place = k.BlockX.MultiplyAdd(rows, k.Warp);
            _row = place.Min(count - 1);
            S32 length = LengthOf(shape, rowSequence, rowLength, _row, sequences, _maxPages);
            // A warp beyond the last row has nothing to do.
            length = (place < count).Choose(length, 0);
            _sequence = (length > 0).Choose(rowSequence[_row], 0);
            _first = _part << PartBits;
            _end = length.Min(_first + Part);
            (_queries, _weights, _pageOf) = (k.Shared<F32>(rows * _together * _d), k.Shared<F32>(rows * _together * Lanes), k.Shared<S32>(rows * Lanes));
            _tile = new RowTile(k, _d, ofWarp: true);
            (_max, _sum) = (k.Variables<F32>(_together, float.NegativeInfinity), k.Variables<F32>(_together, 0f));
            _output = [.. Enumerable.Range(0, _together).Select(_ => k.Variables<F32>(_tile.Registers, 0f))];
        }

        public Kernel Stage()
        {
            KernelBuilder k = _k;
            Pred works = _first < _end;
            k.If(works, () =>
            {
                Floats query = _qkv.Row(_row, _shape.Heads.Columns).Offset(_firstHead * _d);
                k.For(k.Lane, _together * _d, Lanes, i => _queries[k.Warp.MultiplyAdd(_together * _d, i)] = query[i]);
                k.WarpBarrier();
            });
            if (_rows == 1) k.For(_first, _end, Lanes, from => Alone(from));
            else InBlock();
            k.If(works, () =>
            {
                for (int g = 0; g < _together; g++)
                {
                    S32 piece = _row.MultiplyAdd(_shape.Heads.Heads, _firstHead + g).MultiplyAdd(_parts, _part);
                    F32 total = k.WarpSum(_sum[g]), largest = _max[g];
                    _tile.Store(_sums.Row(piece, _d), [.. _output[g].Select(x => x.Value)]);
                    k.If(k.Lane.Is(0), () => _scales.Row(piece, 2).Store(0, [largest, total]));
                }
            });
            return k.Build();
        }

        /// <summary>All steps of 32 tokens that any of the block's rows sees.</summary>
        private void InBlock()
        {
            KernelBuilder k = _k;
            Shared<S32> ends = k.Shared<S32>(_rows), agreed = k.Shared<S32>(_rows), common = k.Shared<S32>(Lanes);
            Shared<F32> buffer = k.Shared<F32>(Lanes * _d);
            k.If(k.Lane.Is(0), () => ends[k.Warp] = _end);
            k.Barrier();
            // The row that sees most leads: what it sees is all that the others can.
            Variable<S32> most = k.Variable(ends[0]), leader = k.Variable<S32>(0);
            for (int i = 1; i < _rows; i++)
            {
                S32 other = ends[i];
                k.If(other > most, () => (most.Value, leader.Value) = (other, i));
            }
            k.For(_first, most, Lanes, from =>
            {
                Pred active = from < _end, visible = from + k.Lane < _end;
                Variable<S32> listed = k.Variable<S32>(-1);
                k.If(visible, () => listed.Value = Listed(from + k.Lane));
                k.If(k.Warp.Is(leader), () => common[k.Lane] = listed);
                k.Barrier();
                Pred same = k.Every(!visible | listed.Value.Is(common[k.Lane]));
                k.If(k.Lane.Is(0), () => agreed[k.Warp] = same.Choose(active.Choose(k.Integer(1), 0), -_rows));
                k.Barrier();
                S32 readers = agreed[0];
                for (int i = 1; i < _rows; i++) readers += agreed[i];
                k.If(readers > 1, () => Together(from, common, buffer, most, active), () => k.If(active, () => Alone(from)));
            });
        }

        /// <summary>A step of a row that reads for itself.</summary>
        private void Alone(S32 from)
        {
            KernelBuilder k = _k;
            Pred visible = from + k.Lane < _end;
            S32 token = visible.Choose(from + k.Lane, _first), listed = Listed(token);
            Floats key = Key(listed, token);
            Variable<F32>[] scores = Scores(listed, (c, i) => key.Offset(c * _p)[i * _p]);
            Weigh(scores, visible);
            _pageOf[k.Thread] = Known(listed).Choose(listed, 0);
            k.WarpBarrier();
            k.For(from, _end.Min(from + Lanes), 1, other =>
                Add(other - from, _tile.Load(_values.Row(_pageOf[k.Warp.MultiplyAdd(Lanes, other - from)], _shape.PageFloats).Offset(_group.MultiplyAdd(_p, other % _p) * _d))));
            k.WarpBarrier();
        }

        /// <summary>A step that the block reads once for all of its rows; the buffer holds the keys by channel, then the values by token.</summary>
        private void Together(S32 from, Shared<S32> common, Shared<F32> buffer, S32 most, Pred active)
        {
            KernelBuilder k = _k;
            S32 shown = common[k.Lane], token = from + k.Lane;
            Pred visible = token < _end, there = (token < most) & Known(shown);
            Floats key = Key(shown, token);
            k.For(k.Warp, _d, _rows, c =>
            {
                Variable<F32> channel = k.Variable<F32>(0f);
                k.If(there, () => channel.Value = key.Offset(c * _p)[0]);
                buffer[c.MultiplyAdd(Lanes, k.Lane)] = channel;
            });
            k.Barrier();
            k.If(active, () => Weigh(Scores(shown, (c, i) => buffer[(c + i).MultiplyAdd(Lanes, k.Lane)]), visible));
            k.Barrier();
            k.For(k.Warp, (most - from).Min(Lanes), _rows, at =>
            {
                S32 listed = common[at];
                Floats value = _values.Row(Known(listed).Choose(listed, 0), _shape.PageFloats).Offset(_group.MultiplyAdd(_p, (from + at) % _p) * _d);
                k.For(k.Lane, _d, Lanes, c => buffer[at.MultiplyAdd(_d, _tile.SharedPlace(c))] = value[c]);
            });
            k.Barrier();
            k.If(active, () => k.For(0, (_end - from).Min(Lanes), 1, at => Add(at, _tile.Load(buffer, at * _d))));
            k.Barrier();
        }

        private S32 Listed(S32 token) => _pageTable.Offset(_sequence * _maxPages)[token / _p];

        private Pred Known(S32 listed) => (listed >= 0) & (listed < _pages);

        /// <summary>The channels of a token's key, P apart.</summary>
        private Floats Key(S32 listed, S32 token) =>
            _keys.Row(Known(listed).Choose(listed, 0), _shape.PageFloats).Offset((_group * (_d * _p)) + token % _p);

        /// <summary>The products of the lane's key with all queries; NaN where the page is not known.</summary>
        private Variable<F32>[] Scores(S32 listed, Func<S32, int, F32> channelOf)
        {
            int step = _d % 4 == 0 ? 4 : 1;
            Variable<F32>[] scores = _k.Variables(_together, Known(listed).Choose(_k.Number(0), float.NaN));
            S32 queries = _k.Warp * (_together * _d);
            _k.For(0, _d, step, c =>
            {
                for (int i = 0; i < step; i++)
                {
                    F32 channel = channelOf(c, i);
                    for (int g = 0; g < _together; g++) scores[g].Value = channel.Fma(_queries[queries + c + (g * _d + i)], scores[g]);
                }
            });
            return scores;
        }

        /// <summary>From scores to weights, scaled to the largest so far.</summary>
        private void Weigh(Variable<F32>[] scores, Pred visible)
        {
            KernelBuilder k = _k;
            for (int g = 0; g < _together; g++)
            {
                F32 score = visible.Choose(scores[g], float.NegativeInfinity), before = _max[g], now = before.Max(k.WarpMax(score));
                F32 correction = AttentionCuda.Exp(before - now, _shape.Heads.Scale), weight = AttentionCuda.Exp(score - now, _shape.Heads.Scale);
                _weights[k.Warp.MultiplyAdd(_together * Lanes, k.Lane + g * Lanes)] = weight;
                (_max[g].Value, _sum[g].Value) = (now, _sum[g].Value.Fma(correction, weight));
                foreach (Variable<F32> x in _output[g]) x.Value *= correction;
            }
            k.WarpBarrier();
        }

        /// <summary>Adds a token's value with its weights.</summary>
        private void Add(S32 at, F32[] value)
        {
            for (int g = 0; g < _together; g++)
            {
                F32 weight = _weights[_k.Warp.MultiplyAdd(_together * Lanes, at + g * Lanes)];
                for (int i = 0; i < value.Length; i++) _output[g][i].Value = weight.Fma(value[i], _output[g][i]);
            }
        }
    }
}
