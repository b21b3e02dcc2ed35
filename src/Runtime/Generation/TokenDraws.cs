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
    // While the host reads the tokens of one pass, those of the next are under way.
    private readonly DrawFlight[] _flights = [new(model.Device), new(model.Device)];
    private int[] _settings = [];
    private int _next;

    /// <summary>I32: the ids of the last pass on the device, as lanes' places in its flight count them; empty before the first.</summary>
    public Tensor Drawn => _deviceIds;

    /// <summary>Queues the draw of one token for every sample of every lane. The flight is used again after the one that follows it.</summary>
    /// <param name="hidden">[lanes, C], in the same place at every call of as many lanes: a recorded step reads it there.</param>
    /// <param name="lanes">The lanes; what they have on its way elsewhere, drawn before, is not among their ids yet.</param>
    /// <param name="options">Temperature and the like.</param>
    public DrawFlight Queue(Tensor hidden, ReadOnlySpan<Lane> lanes, SamplingOptions options)
    {
        int total = 0;
        foreach (Lane lane in lanes) total += lane.Draws.Count;
        if (_deviceIds.Rows < total)
        {
            int size = Math.Max(64, 2 * total);
            _settings = new int[size * SampleRow.Words];
            FreeRows();
            _deviceSettings = model.Device.Create(DType.I32, size, SampleRow.Words);
            _deviceIds = model.Device.Create(DType.I32, size, 1);
            _deviceLogProbs = model.Device.Create(DType.F32, size, 1);
        }
        DrawFlight flight = _flights[_next];
        _next = 1 - _next;
        flight.Lanes.Clear();
        flight.Counts.Clear();
        // Logits of some rows at a time: at a vocabulary of 152k, 128 rows already take 78 MB.
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
                uint position = (uint)(lane.Flight is null ? lane.Ids.Count : lane.Ids.Count + 1);
                (lane.Flight, lane.Place) = (flight, done + count);
                flight.Lanes.Add(lane);
                flight.Counts.Add(lane.Draws.Count);
                foreach (Draw draw in lane.Draws)
                {
                    var row = new SampleRow(lane.IsGreedy ? 0 : options.Temperature, options.TopK, options.TopP, options.Seed, draw.Stream, position);
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
        flight.Start(_deviceIds.Slice(0, total), _deviceLogProbs.Slice(0, total));
        return flight;
    }

    public void Dispose()
    {
        foreach (DrawFlight flight in _flights) flight.Dispose();
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
