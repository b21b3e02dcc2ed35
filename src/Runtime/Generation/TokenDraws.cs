using Bellman.Kernels;
using Bellman.Kernels.Ops.LmHead;
using Bellman.Kernels.Ops.Sample;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Generation;

/// <summary>Draws next tokens from hidden states, several samples from one state where a lane holds several.</summary>
internal sealed class TokenDraws(LanguageModel model) : IDisposable
{
    private Tensor _logits, _deviceSettings, _deviceIds, _deviceLogProbs;
    private readonly StepRecorder<(int Start, int Rows, int Done, int Count)> _steps = new(model.Device);
    private int[] _settings = [];
    private int[] _ids = [];
    private float[] _logProbs = [];

    /// <summary>The tokens of the last call, in the order of lanes and of their draws; <see cref="Sample.Unusable"/> where the model gave no probabilities.</summary>
    public ReadOnlySpan<int> Ids => _ids;

    /// <summary>Their log π.</summary>
    public ReadOnlySpan<float> LogProbs => _logProbs;

    /// <summary>Draws one token for every sample of every lane.</summary>
    /// <param name="hidden">[lanes, C], in the same place at every call of as many lanes: a recorded step reads it there.</param>
    /// <param name="lanes">The lanes.</param>
    /// <param name="options">Temperature and the like.</param>
    public void Next(Tensor hidden, ReadOnlySpan<Lane> lanes, SamplingOptions options)
    {
        int total = 0;
        foreach (Lane lane in lanes) total += lane.Draws.Count;
        if (_ids.Length < total)
        {
            int size = Math.Max(64, 2 * total);
            (_settings, _ids, _logProbs) = (new int[size * SampleRow.Words], new int[size], new float[size]);
            FreeRows();
            _deviceSettings = model.Device.Create(DType.I32, size, SampleRow.Words);
            _deviceIds = model.Device.Create(DType.I32, size, 1);
            _deviceLogProbs = model.Device.Create(DType.F32, size, 1);
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
                    var row = new SampleRow(lane.IsGreedy ? 0 : options.Temperature, options.TopK, options.TopP, options.Seed, draw.Stream, (uint)lane.Ids.Count);
                    row.Write(i, _settings.AsSpan((done + count++) * SampleRow.Words, SampleRow.Words));
                }
            }
            Tensor logits = _logits.Slice(0, rows);
            Tensor settings = _deviceSettings.Slice(done, count);
            model.Device.Upload<int>(_settings.AsSpan(done * SampleRow.Words, count * SampleRow.Words), settings);
            Tensor ids = _deviceIds.Slice(done, count), logProbs = _deviceLogProbs.Slice(done, count);
            _steps.Run((start, rows, done, count), (Input: model.HeadInput(hidden.Slice(start, rows)), logits, settings, ids, logProbs), static x =>
            {
                LmHead.Logits(x.Input, x.logits);
                Sample.Next(x.logits, x.settings, x.ids, x.logProbs);
            });
            done += count;
        }
        model.Device.Download(_deviceIds.Slice(0, total), _ids.AsSpan(0, total));
        model.Device.Download(_deviceLogProbs.Slice(0, total), _logProbs.AsSpan(0, total));
    }

    public void Dispose()
    {
        _steps.Dispose();
        _logits.Free();
        FreeRows();
    }

    private void FreeRows()
    {
        _deviceSettings.Free();
        _deviceIds.Free();
        _deviceLogProbs.Free();
    }
}
