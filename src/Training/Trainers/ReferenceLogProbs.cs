using Bellman.Kernels;
using Bellman.Runtime.Models;
using Bellman.Runtime.Scoring;
using Bellman.Training.Data;

namespace Bellman.Training.Trainers;

/// <summary>
/// log π_ref of every action of a list of trajectories, computed once before training, so that no step runs the reference: 4 bytes
/// an action token. A trajectory that is in the list more than once (as pairs are) is scored and kept once.
/// </summary>
public sealed class ReferenceLogProbs
{
    /// <summary>Trajectories scored between two reports.</summary>
    private const int AtOnce = 32;

    private readonly float[][] _values;

    private ReferenceLogProbs(float[][] values, long bytes) => (_values, Bytes) = (values, bytes);

    /// <summary>Trajectories of the list.</summary>
    public int Count => _values.Length;

    /// <summary>Memory of the numbers.</summary>
    public long Bytes { get; }

    /// <summary>log π_ref of each action of a trajectory, in order.</summary>
    public ReadOnlySpan<float> this[int trajectory] => _values[trajectory];

    /// <summary>Runs the reference over all trajectories.</summary>
    /// <param name="reference">π_ref; not needed any more afterwards.</param>
    /// <param name="trajectories">The list that micro-batches are filled from.</param>
    /// <param name="progress">Told how many different trajectories are done, and of how many.</param>
    /// <param name="cancellation">Stops between forwards.</param>
    /// <exception cref="BellmanException">A trajectory does not fit the model.</exception>
    public static ReferenceLogProbs Compute(LanguageModel reference, IReadOnlyList<Trajectory> trajectories, Action<int, int>? progress = null, CancellationToken cancellation = default)
    {
        var places = new Dictionary<Trajectory, int>(ReferenceEqualityComparer.Instance);
        var distinct = new List<Trajectory>();
        foreach (Trajectory trajectory in trajectories)
            if (places.TryAdd(trajectory, distinct.Count)) distinct.Add(trajectory);
        var scored = new float[distinct.Count][];
        long bytes = 0;
        using var scorer = new SequenceScorer(reference);
        for (int first = 0; first < scored.Length; first += AtOnce)
        {
            Trajectory[] part = [.. distinct.Skip(first).Take(AtOnce)];
            IReadOnlyList<SequenceScore> scores = scorer.Score([.. part.Select(x => x.Ids)], cancellation);
            for (int i = 0; i < part.Length; i++)
            {
                var actions = new float[part[i].ActionCount];
                for (int t = 0, at = 0; t < part[i].Length - 1; t++)
                    if (part[i].ActionMask[t]) actions[at++] = scores[i].LogProbs[t];
                scored[first + i] = actions;
                bytes += actions.Length * sizeof(float);
            }
            progress?.Invoke(Math.Min(first + AtOnce, scored.Length), scored.Length);
        }
        return new ReferenceLogProbs([.. trajectories.Select(x => scored[places[x]])], bytes);
    }

    /// <summary>The numbers of a micro-batch's actions, in the order of its tokens. [N]</summary>
    /// <exception cref="BellmanException">The micro-batch is of another list.</exception>
    internal void Fill(PackedRows rows, Span<float> perAction)
    {
        int at = 0;
        foreach (int index in rows.Indices)
        {
            ReadOnlySpan<float> own = (uint)index < (uint)_values.Length ? _values[index] : [];
            if (own.Length == 0 || own.Length > perAction.Length - at) throw Foreign();
            own.CopyTo(perAction[at..]);
            at += own.Length;
        }
        if (at != perAction.Length) throw Foreign();
    }

    private static BellmanException Foreign() => new("Reference log-probs: the micro-batch is not of the trajectories that they were computed for; compute them over the list that the batch plan has.");
}
