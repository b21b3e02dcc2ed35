using Bellman.Kernels;
using Bellman.Kernels.Ops.Sample;
using BenchmarkDotNet.Attributes;

namespace Bellman.Perf.Ops;

/// <summary>Benchmarks of <see cref="Sample"/> on 16 rows of logits.</summary>
public class SamplePerf : OpPerf
{
    private const int Batch = 16;

    private readonly int[] _ids = new int[Batch];
    private readonly float[] _logProbs = new float[Batch];
    private Tensor _logits;

    /// <inheritdoc/>
    public override OpWork WorkOf(string benchmark) => new(0, Floats((double)Batch * Shape.V));

    /// <summary>The largest logit.</summary>
    [Benchmark]
    public void Greedy() => Next(_greedy);

    /// <summary>From the whole distribution.</summary>
    [Benchmark]
    public void Plain() => Next(_plain);

    /// <summary>From the 50 best, and of these from those that hold nine tenths.</summary>
    [Benchmark]
    public void Truncated() => Next(_truncated);

    private readonly SampleRow[] _greedy = Settings(0, 0, 1), _plain = Settings(1, 0, 1), _truncated = Settings(0.7f, 50, 0.9f);

    private static SampleRow[] Settings(float temperature, int topK, float topP) =>
        [.. Enumerable.Range(0, Batch).Select(i => new SampleRow(temperature, topK, topP, Seed: 1, Stream: (ulong)i, Position: 7))];

    /// <inheritdoc/>
    protected override void Make() => _logits = Normal(Batch, Shape.V, 2);

    /// <inheritdoc/>
    protected override void Check()
    {
        foreach (SampleRow[] settings in (ReadOnlySpan<SampleRow[]>)[_greedy, _plain, _truncated])
        {
            Next(settings);
            for (int i = 0; i < Batch; i++)
            {
                (int id, double logProb, double margin) = SampleReference.Next(_logits.Row<float>(i), settings[i]);
                // So close to the border of two ids that float32 may choose the other one.
                if (margin < 1e-5) continue;
                if (id != _ids[i] || !(Math.Abs(logProb - _logProbs[i]) < 1e-4))
                    throw new BellmanException($"Sample: row {i} with {settings[i]}: expected id {id} of log-prob {logProb:G6}, received {_ids[i]} of {_logProbs[i]:G6}.");
            }
        }
    }

    private void Next(SampleRow[] settings) => Sample.Next(_logits, settings, _ids, _logProbs);
}
