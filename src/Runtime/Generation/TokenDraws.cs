using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.Sample;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Generation;

/// <summary>Draws next tokens from hidden states, several samples from one state where a lane holds several.</summary>
internal sealed class TokenDraws(LanguageModel model) : IDisposable
{
    private Tensor _logits;
    private SampleRow[] _rows = [];
    private int[] _sources = [];
    private int[] _ids = [];
    private float[] _logProbs = [];

    /// <summary>The tokens of the last call, in the order of lanes and of their draws; <see cref="Sample.Unusable"/> where the model gave no probabilities.</summary>
    public ReadOnlySpan<int> Ids => _ids;

    /// <summary>Their log π.</summary>
    public ReadOnlySpan<float> LogProbs => _logProbs;

    /// <summary>Draws one token for every sample of every lane.</summary>
    /// <param name="hidden">[lanes, C].</param>
    /// <param name="lanes">The lanes.</param>
    /// <param name="options">Temperature and the like.</param>
    public void Next(Tensor hidden, ReadOnlySpan<Lane> lanes, SamplingOptions options)
    {
        int total = 0;
        foreach (Lane lane in lanes) total += lane.Draws.Count;
        if (_rows.Length < total)
        {
            int size = Math.Max(64, 2 * total);
            (_rows, _sources, _ids, _logProbs) = (new SampleRow[size], new int[size], new int[size], new float[size]);
        }
        // Logits of some rows at a time: at a vocabulary of 152k, 64 rows already take 39 MB.
        int chunk = Math.Min(lanes.Length, LmHead.ChunkRows(model.Config.VocabularySize));
        if (_logits.IsEmpty || _logits.Rows < chunk)
        {
            _logits.Free();
            _logits = model.Device.Create(DType.F32, chunk, model.Config.VocabularySize);
        }
        for (int start = 0, done = 0; start < lanes.Length; start += chunk)
        {
            int rows = Math.Min(chunk, lanes.Length - start), count = 0;
            for (int i = 0; i < rows; i++)
            {
                Lane lane = lanes[start + i];
                foreach (Draw draw in lane.Draws)
                {
                    _rows[done + count] = new SampleRow(lane.IsGreedy ? 0 : options.Temperature, options.TopK, options.TopP, options.Seed, draw.Stream, (uint)lane.Ids.Count);
                    _sources[done + count++] = i;
                }
            }
            Tensor logits = _logits.Slice(0, rows);
            LmHead.Logits(model.HeadInput(hidden.Slice(start, rows)), logits);
            Sample.NextOrUnusable(logits, _rows.AsSpan(done, count), _ids.AsSpan(done, count), _logProbs.AsSpan(done, count), _sources.AsSpan(done, count));
            done += count;
        }
    }

    public void Dispose() => _logits.Free();
}
