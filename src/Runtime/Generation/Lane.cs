using System.Collections;

namespace Bellman.Runtime.Generation;

/// <summary>One sample on its way: its random stream, and what waits for it.</summary>
/// <param name="Stream">Draws depend on it, the seed and the position only.</param>
/// <param name="Waiting">The owner's own note.</param>
/// <param name="Index">Number of the sample in that note.</param>
internal readonly record struct Draw(ulong Stream, object Waiting, int Index);

/// <summary>Whom lanes belong to: one prompt or problem.</summary>
internal abstract class LaneOwner(int order)
{
    /// <summary>Lanes of lower numbers go first where memory or places are short.</summary>
    public int Order { get; } = order;

    /// <summary>A lane came to an end (see <see cref="Lane.Finish"/>) and its score, where asked for, was read. It is the owner's now.</summary>
    public abstract void Ended(Lane lane);
}

/// <summary>Why a lane stopped.</summary>
internal enum LaneEnd
{
    None,
    EndToken,
    AnswerEnd,
    StepEnd,
    Length,

    /// <summary>The policy gave no probabilities: its logits hold NaN or +∞, or nothing but −∞.</summary>
    Broken,
}

/// <summary>
/// One path of tokens in decoding and all samples that have drawn just these tokens: as long as they agree they are computed once,
/// and the first token that differs parts them.
/// </summary>
internal sealed class Lane
{
    public Lane(LaneOwner owner, IReadOnlyList<int> ids, int promptLength)
    {
        Owner = owner;
        Ids = [.. ids];
        PromptLength = promptLength;
        Start = Ids.Count;
        Response = new TokenTail(Ids, promptLength);
        Step = new TokenTail(Ids, Start);
    }

    public LaneOwner Owner { get; }

    /// <summary>Prompt and all tokens drawn. The last one is not in the policy's cache yet.</summary>
    public List<int> Ids { get; }

    public int PromptLength { get; }

    /// <summary>Where the step in work begins.</summary>
    public int Start { get; private set; }

    /// <summary>Tokens since the prompt, and since the step's begin.</summary>
    public TokenTail Response { get; }

    public TokenTail Step { get; private set; }

    /// <summary>log π of every token since the prompt.</summary>
    public List<float> LogProbs { get; } = [];

    public List<Draw> Draws { get; } = [];

    /// <summary>Position among the owner's lanes.</summary>
    public long Order { get; set; }

    /// <summary>Most ids, the prompt included.</summary>
    public int Limit { get; set; }

    public bool IsGreedy { get; set; }

    /// <summary>Whether the step rule is looked at.</summary>
    public bool EndsAtSteps { get; set; }

    /// <summary>Steps that may follow the one in work.</summary>
    public int StepsLeft { get; set; }

    /// <summary>Whether the score is read when the lane ends.</summary>
    public bool IsScored { get; set; }

    public KvSequence? Policy { get; set; }

    public PathState? Score { get; set; }

    public LaneEnd Finish { get; set; }

    /// <summary>Where its next token is on its way, drawn and not seen yet; null for nowhere.</summary>
    public DrawFlight? Flight { get; set; }

    /// <summary>Number of its first draw in that flight.</summary>
    public int Place { get; set; }

    /// <summary>Taking part in the pass at hand: its pages stay.</summary>
    public bool IsBusy { get; set; }

    /// <summary>Tokens whose state is scored: the state after an end token was never trained.</summary>
    public int ScoreLength => Finish == LaneEnd.EndToken ? Ids.Count - 1 : Ids.Count;

    /// <summary>A lane with the same past; caches are the scheduler's matter.</summary>
    public Lane Split()
    {
        var lane = new Lane(Owner, Ids, PromptLength) { Limit = Limit, IsGreedy = IsGreedy, EndsAtSteps = EndsAtSteps, StepsLeft = StepsLeft, IsScored = IsScored };
        lane.Start = Start;
        lane.Step = new TokenTail(lane.Ids, Start);
        lane.LogProbs.AddRange(LogProbs);
        return lane;
    }

    /// <summary>Goes on with the next step.</summary>
    public void Continue()
    {
        Finish = LaneEnd.None;
        StepsLeft--;
        Start = Ids.Count;
        Step = new TokenTail(Ids, Start);
    }
}

/// <summary>The end of a growing list.</summary>
internal sealed class TokenTail(List<int> ids, int start) : IReadOnlyList<int>
{
    public int Count => ids.Count - start;

    public int this[int index] => ids[start + index];

    public IEnumerator<int> GetEnumerator()
    {
        for (int i = start; i < ids.Count; i++) yield return ids[i];
    }

    IEnumerator IEnumerable.GetEnumerator() => GetEnumerator();
}
