using Bellman.Kernels.Random;

namespace Bellman.Training.Data;

/// <summary>
/// For each trajectory its prompt with the response of another question, from which KTO estimates how far the policy has moved from
/// the reference. The partner is drawn once from the whole data, not from the batch: so it is there at any batch size, does not
/// depend on how an update is cut, and the reference scores it once. A trajectory without a fitting partner has none.
/// </summary>
public sealed class MismatchedResponses
{
    // Keeps the draw apart from everything else that draws from the run's seed.
    private const ulong PartnerStream = 0x4B54_4F00_0000_0000;

    private readonly int[] _places;

    private MismatchedResponses(List<Trajectory> trajectories, int[] places) => (Trajectories, _places) = (trajectories, places);

    /// <summary>The joined sequences; their actions are the borrowed response's.</summary>
    public IReadOnlyList<Trajectory> Trajectories { get; }

    /// <summary>Where in <see cref="Trajectories"/> the mismatch of a trajectory is, or −1.</summary>
    public int PlaceOf(int trajectory) => _places[trajectory];

    /// <summary>Draws partners.</summary>
    /// <param name="trajectories">The data. Questions are told apart by <see cref="Trajectory.Group"/>, without one by the prompt's tokens.</param>
    /// <param name="seed">The run's seed.</param>
    /// <param name="maxLength">Longest joined sequence; a partner that would exceed it is passed over.</param>
    public static MismatchedResponses Draw(IReadOnlyList<Trajectory> trajectories, ulong seed, int maxLength = int.MaxValue)
    {
        string[] questions = [.. trajectories.Select(x => x.Question)];
        var order = new int[questions.Length];
        for (int i = 0; i < order.Length; i++) order[i] = i;
        new PhiloxRandom(seed, PartnerStream).Shuffle(order.AsSpan());
        int[] places = new int[order.Length];
        Array.Fill(places, -1);
        var joined = new List<Trajectory>();
        bool several = questions.Distinct(StringComparer.Ordinal).Skip(1).Any();
        for (int k = 0; several && k < order.Length; k++)
        {
            Trajectory own = trajectories[order[k]];
            for (int step = 1; step < order.Length; step++)
            {
                int candidate = order[(k + step) % order.Length];
                Trajectory partner = trajectories[candidate];
                if (questions[candidate] == questions[order[k]] || own.PromptLength + partner.Length - partner.PromptLength > maxLength) continue;
                places[order[k]] = joined.Count;
                joined.Add(Join(own, partner));
                break;
            }
        }
        return new MismatchedResponses(joined, places);
    }

    private static Trajectory Join(Trajectory own, Trajectory partner)
    {
        int prompt = own.PromptLength, from = partner.PromptLength;
        int[] ids = [.. own.Ids.AsSpan(0, prompt), .. partner.Ids.AsSpan(from)];
        var actions = new bool[ids.Length];
        // The position before the first response token carries its mask.
        partner.ActionMask.AsSpan(from - 1).CopyTo(actions.AsSpan(prompt - 1));
        return new Trajectory(ids, actions, actions, partner.Reward, own.Group, own.Line);
    }
}
