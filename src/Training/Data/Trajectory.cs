namespace Bellman.Training.Data;

/// <summary>
/// One scored sequence of tokens. Masks are indexed by the position whose <em>next</em> token is meant: entry t belongs to the
/// prediction of token t + 1 from the prefix that ends at t, so the last entry of each is always false.
/// </summary>
public sealed class Trajectory
{
    /// <summary>Takes over finished arrays of equal length and checks that they describe a trajectory.</summary>
    /// <param name="ids">Token ids, prompt first. [n]</param>
    /// <param name="actionMask">True at t where token t + 1 was chosen by the policy. [n]</param>
    /// <param name="stateMask">True at t where the value is trained; only positions with an action. [n]</param>
    /// <param name="reward">Reward at the end of the trajectory.</param>
    /// <param name="group">Key shared by all trajectories of one question, or null.</param>
    /// <param name="line">Line of the source file, from 1; 0 when there is none.</param>
    /// <exception cref="DataException">Lengths differ, the reward is not finite, or there is no action or no state.</exception>
    public Trajectory(int[] ids, bool[] actionMask, bool[] stateMask, float reward, string? group = null, int line = 0)
    {
        if (ids.Length != actionMask.Length || ids.Length != stateMask.Length)
            throw new DataException($"Trajectory: expected masks of {ids.Length} entries, one per token, received {actionMask.Length} (actions) and {stateMask.Length} (states).");
        if (!float.IsFinite(reward)) throw new DataException($"Trajectory: expected a finite reward, received {reward}.");
        int actions = 0, states = 0;
        for (int t = 0; t < ids.Length; t++)
        {
            if (actionMask[t]) actions++;
            if (!stateMask[t]) continue;
            states++;
            if (!actionMask[t]) throw new DataException($"Trajectory: position {t} is a state but no action follows it; a state is the position just before an action token.");
        }
        if (actions == 0 || states == 0) throw new DataException("Trajectory: expected at least one action and one state, received none; the response is empty.");
        if (actionMask[^1]) throw new DataException("Trajectory: the last mask entry must be false, because no token follows the last one.");
        Ids = ids;
        ActionMask = actionMask;
        StateMask = stateMask;
        Reward = reward;
        Group = group;
        Line = line;
        ActionCount = actions;
        StateCount = states;
        PromptLength = Array.IndexOf(actionMask, true) + 1;
    }

    /// <summary>Token ids. [n]</summary>
    public int[] Ids { get; }

    /// <summary>True at t where token t + 1 is an action. [n]</summary>
    public bool[] ActionMask { get; }

    /// <summary>True at t where the value model is trained. [n]</summary>
    public bool[] StateMask { get; }

    /// <summary>Reward at the end; the return to go at every state.</summary>
    public float Reward { get; }

    /// <summary>The question this answers, as a key for pairs and splits; null when the source names none.</summary>
    public string? Group { get; }

    /// <summary>Line of the source file, from 1; 0 when there is none.</summary>
    public int Line { get; }

    /// <summary>Number of tokens, n.</summary>
    public int Length => Ids.Length;

    /// <summary>Tokens before the first action.</summary>
    public int PromptLength { get; }

    /// <summary>What tells questions apart: <see cref="Group"/>, or else the prompt's token ids.</summary>
    internal string Question => Group ?? string.Join(' ', Ids.Take(PromptLength));

    /// <summary>Number of true entries in <see cref="ActionMask"/>.</summary>
    public int ActionCount { get; }

    /// <summary>Number of true entries in <see cref="StateMask"/>.</summary>
    public int StateCount { get; }
}
