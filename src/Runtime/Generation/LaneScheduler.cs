using System.Runtime.InteropServices;
using Bellman.Kernels;
using Bellman.Kernels.Ops.Sample;
using Bellman.Runtime.Models;

namespace Bellman.Runtime.Generation;

/// <summary>Whether lanes with a common past share its keys and values.</summary>
public enum PathSharing
{
    /// <summary>One tree: every distinct token is computed once.</summary>
    Tree,

    /// <summary>Every sample has caches of its own, copied whole when a path branches: the usual beam search.</summary>
    PerSample,

    /// <summary>Nothing is kept from step to step: the whole text is computed again, by both models.</summary>
    Resend,
}

/// <summary>Settings of a <see cref="LaneScheduler"/>.</summary>
internal sealed record LaneOptions
{
    public SamplingOptions Sampling { get; init; } = new();

    public StopRule AnswerEnd { get; init; } = StopRule.Never;

    public StopRule StepEnd { get; init; } = StopRule.Never;

    /// <summary>Lanes of one pass.</summary>
    public int LanesAtOnce { get; init; } = 256;

    /// <summary>Tokens of prompts, or of paths computed again, that one pass takes beside the lanes in decoding.</summary>
    public int PrefillTokens { get; init; } = 256;

    public PathSharing Sharing { get; init; }
}

/// <summary>
/// Continuous batching over all lanes of all owners: each pass takes one token of every lane there is room for, and a piece of the
/// prompts that wait; lanes that end are scored in the next batch of the scoring model and make room at once. A lane's tokens and
/// scores depend on its past, its streams and the seed only: neither on the batch, nor on the memory limit, nor on the order.
/// <para>
/// Where the device's calls return before their work is done, the host is one pass behind: a pass takes the tokens of the one before it
/// from the device's memory, and the host reads those while it runs. A lane that turns out to have ended was then taken one token too
/// far, which is dropped.
/// </para>
/// </summary>
internal sealed class LaneScheduler : IDisposable
{
    private readonly LanguageModel _model;
    private readonly KvCache _policy;
    private readonly PathScorer? _scorer;
    private readonly LaneOptions _options;
    private readonly TokenDraws _draws;
    private readonly bool[] _isEnd;
    private readonly List<Lane> _lanes = [];
    private readonly List<Lane> _ended = [];
    private readonly List<Lane?> _done = [];
    private readonly List<Lane> _pass = [];
    private readonly List<(Lane Lane, int Tokens)> _pieces = [];
    private readonly List<ScoreRequest> _requests = [];
    private readonly HashSet<PathState> _kept = [];
    private readonly List<int> _ids = [];
    private readonly List<int> _starts = [];
    private readonly List<KvSequence> _sequences = [];
    private DrawFlight? _flight;
    private bool _isSorted = true, _isShort;

    public LaneScheduler(LanguageModel model, KvCache policy, PathScorer? scorer, LaneOptions options)
    {
        options.Sampling.Validate();
        (_model, _policy, _scorer, _options) = (model, policy, scorer, options);
        Memory = new LaneMemory(policy, scorer);
        _draws = new TokenDraws(model);
        _isEnd = new bool[model.Config.VocabularySize];
        foreach (int id in model.Config.EosIds)
            if ((uint)id < (uint)_isEnd.Length) _isEnd[id] = true;
    }

    public LaneMemory Memory { get; }

    public LanguageModel Model => _model;

    /// <summary>Lanes that are decoded or wait to be.</summary>
    public int Count => _lanes.Count + _ended.Count;

    /// <summary>Adds a lane, or one that goes on after a step.</summary>
    public void Add(Lane lane)
    {
        _isSorted &= _lanes.Count == 0 || Compare(_lanes[^1], lane) <= 0;
        _lanes.Add(lane);
    }

    /// <summary>Adds a path whose score alone is wanted.</summary>
    public void Score(Lane lane) => _ended.Add(lane);

    /// <summary>Takes an owner's lanes out and frees their caches.</summary>
    public void Remove(LaneOwner owner)
    {
        foreach (List<Lane> list in (ReadOnlySpan<List<Lane>>)[_lanes, _ended])
        {
            foreach (Lane lane in list)
            {
                if (lane.Owner != owner) continue;
                lane.Flight?.Drop(lane);
                Memory.Drop(lane);
            }
            list.RemoveAll(x => x.Owner == owner);
        }
    }

    /// <summary>Ends an owner's lanes as they are, cut.</summary>
    public void Cut(LaneOwner owner)
    {
        foreach (Lane lane in _lanes)
        {
            if (lane.Owner != owner) continue;
            lane.Flight?.Drop(lane);
            End(lane, LaneEnd.Length);
        }
        _lanes.RemoveAll(x => x.Finish != LaneEnd.None);
    }

    /// <summary>One batch of scores and one of tokens. Owners are told of lanes that end.</summary>
    public void Step()
    {
        if (_ended.Count > 0) ScoreEnded();
        if (_lanes.Count > 0) Decode();
    }

    public void Dispose()
    {
        foreach (List<Lane> list in (ReadOnlySpan<List<Lane>>)[_lanes, _ended])
        {
            foreach (Lane lane in list) Memory.Drop(lane);
            list.Clear();
        }
        foreach (Lane? lane in _done)
            if (lane is not null) Memory.Drop(lane);
        _draws.Dispose();
    }

    private static int Compare(Lane a, Lane b) => a.Owner.Order != b.Owner.Order ? a.Owner.Order.CompareTo(b.Owner.Order) : a.Order.CompareTo(b.Order);

    private void ScoreEnded()
    {
        _ended.Sort(Compare);
        _requests.Clear();
        _kept.Clear();
        int reserved = 0, waiting = 0;
        _done.Clear();
        for (int i = 0; i < _ended.Count; i++)
        {
            Lane lane = _ended[i];
            bool needsScore = lane.IsScored && _scorer is not null && lane.ScoreLength > (lane.Score ??= new PathState()).Length;
            if (needsScore && !TryReserve(lane, lane.ScoreLength, ref reserved, makeRoom: true))
            {
                _ended[waiting++] = lane;
                continue;
            }
            _done.Add(lane);
        }
        _ended.RemoveRange(waiting, _ended.Count - waiting);
        if (_requests.Count > 0) _scorer!.Advance(_requests);
        // A lane leaves the list once its owner has taken it: should one of them fail, the others are still freed.
        for (int i = 0; i < _done.Count; i++)
        {
            _done[i]!.Owner.Ended(_done[i]!);
            _done[i] = null;
        }
        _done.Clear();
    }

    /// <summary>Puts a path on the list of the next batch of scores if its pages can be had.</summary>
    private bool TryReserve(Lane lane, int length, ref int reserved, bool makeRoom)
    {
        PathState state = lane.Score!;
        bool isFirst = _requests.Count == 0;
        _kept.Add(state);
        KvSequence sequence = _scorer!.Open(state, lane, length);
        int pages = reserved + _scorer.Cache.PagesFor(sequence, length - sequence.Length);
        if (pages <= _scorer.Cache.Available || (makeRoom && isFirst && RoomForFirst(pages)))
        {
            reserved = pages;
            _requests.Add(new ScoreRequest(state, lane, length));
            return true;
        }
        _kept.Remove(state);
        _scorer.Drop(state);
        return false;
    }

    /// <summary>The first in line gets room in any case, be it that all others are computed again.</summary>
    private bool RoomForFirst(int pages)
    {
        if (Memory.RoomForScore(pages, _lanes, _kept) || Memory.RoomForScore(pages, _ended, _kept)) return true;
        throw new DeviceException($"Search: the scoring model's memory limit of {_scorer!.Cache.PageLimit} pages does not hold one path; raise the limit.");
    }

    private void Decode()
    {
        if (!_isSorted) _lanes.Sort(Compare);
        _isSorted = true;
        int complete = Select();
        DrawFlight? before = _flight;
        _flight = null;
        if (_pass.Count > 0)
        {
            Tensor hidden = _policy.Append(
                CollectionsMarshal.AsSpan(_sequences), CollectionsMarshal.AsSpan(_ids), CollectionsMarshal.AsSpan(_starts), drawn: before is null ? default : _draws.Drawn);
            foreach (Lane lane in _pass) lane.IsBusy = false;
            if (complete > 0) _flight = _draws.Queue(hidden.Slice(0, complete), CollectionsMarshal.AsSpan(_pass)[..complete], _options.Sampling);
        }
        if (before is not null) Land(before);
        if (_flight is { } now && (_isShort || !_model.Device.QueuesWork))
        {
            _flight = null;
            Land(now);
        }
        _lanes.RemoveAll(x => x.Finish != LaneEnd.None);
    }

    /// <summary>Waits for the tokens of a pass and gives them to their lanes.</summary>
    private void Land(DrawFlight flight)
    {
        ReadOnlySpan<int> ids = flight.Ids;
        ReadOnlySpan<float> logProbs = flight.LogProbs;
        ScoreBeforeParting(flight, ids);
        for (int i = 0, at = 0; i < flight.Lanes.Count; at += flight.Counts[i], i++)
        {
            if (flight.Lanes[i] is not { } lane) continue;
            DrawFlight? later = lane.Flight == flight ? null : lane.Flight;
            lane.Flight = later;
            Accept(lane, ids.Slice(at, flight.Counts[i]), logProbs.Slice(at, flight.Counts[i]));
            if (later is null) continue;
            // The next pass has this token already: now its id is known, or it is taken back with what was drawn after it.
            if (lane.Finish == LaneEnd.None)
            {
                _policy.Learn(lane.Policy!, lane.Ids[^1]);
                continue;
            }
            later.Drop(lane);
            _policy.Retract(lane.Policy!);
        }
    }

    /// <summary>Chooses the lanes of a pass, those that draw a token first. Returns how many draw.</summary>
    private int Select()
    {
        _pass.Clear();
        _ids.Clear();
        _starts.Clear();
        _sequences.Clear();
        int reserved = 0, prefill = _options.PrefillTokens, complete = 0;
        _isShort = false;
        _pieces.Clear();
        for (int i = 0; i < _lanes.Count && _pass.Count + _pieces.Count < _options.LanesAtOnce; i++)
        {
            Lane lane = _lanes[i];
            bool isFirst = _pass.Count + _pieces.Count == 0, wasOpen = lane.Policy is not null, isAhead = lane.Flight is not null;
            if (isAhead && !CanRunAhead(lane)) continue;
            // Opening takes pages: not for a lane whose prompt must wait anyway.
            if (!wasOpen && !isFirst && prefill == 0) continue;
            KvSequence sequence = Memory.Open(lane);
            int left = lane.Ids.Count + (isAhead ? 1 : 0) - sequence.Length, take = left == 1 ? 1 : Math.Min(left, Math.Max(prefill, isFirst ? 1 : 0));
            if (take == 0) continue;
            // A lane that comes in must fit whole, with a page to spare for each that runs; one that runs needs its next page.
            int pages = reserved + _policy.PagesFor(sequence, wasOpen || isFirst ? take : left), spare = wasOpen || isFirst ? 0 : _pass.Count;
            bool isTight = pages + spare > _policy.Available;
            if (isTight && (wasOpen || isFirst) && _flight is not null)
            {
                // Nobody gives way as long as tokens are on their way to lanes: they land first.
                _isShort = true;
                if (!wasOpen) Memory.DropPolicy(lane);
                break;
            }
            if (isTight && !((wasOpen || isFirst) && RoomForPolicy(pages, i)))
            {
                if (isFirst) throw new DeviceException($"Generation: the memory limit of {_policy.PageLimit} pages does not hold one sequence; raise the limit.");
                if (!wasOpen) Memory.DropPolicy(lane);
                break;
            }
            reserved += _policy.PagesFor(sequence, take);
            lane.IsBusy = true;
            if (left > 1) prefill -= take;
            if (take < left)
            {
                _pieces.Add((lane, take));
                continue;
            }
            Enter(lane, take);
            complete++;
        }
        foreach ((Lane lane, int tokens) in _pieces) Enter(lane, tokens);
        _starts.Add(_ids.Count);
        return complete;
    }

    /// <summary>Whether a lane goes on from a token that only the device knows: one whose samples may part there, or that ends there, does not.</summary>
    private static bool CanRunAhead(Lane lane) => lane.Draws.Count == 1 && lane.Policy is { } policy && policy.Length == lane.Ids.Count && lane.Ids.Count + 1 < lane.Limit;

    private bool RoomForPolicy(int pages, int lane) => Memory.RoomForPolicy(pages, _lanes, lane) || Memory.RoomForPolicy(pages, _ended, -1);

    private void Enter(Lane lane, int tokens)
    {
        _starts.Add(_ids.Count);
        int from = lane.Policy!.Length;
        for (int i = from; i < from + tokens; i++) _ids.Add(i < lane.Ids.Count ? lane.Ids[i] : ~lane.Place);
        _sequences.Add(lane.Policy);
        _pass.Add(lane);
    }

    /// <summary>
    /// Where samples part, the scoring model reads what they have in common first, so that it reads it once. Where there is no room
    /// it is read twice, later.
    /// </summary>
    private void ScoreBeforeParting(DrawFlight flight, ReadOnlySpan<int> ids)
    {
        if (_scorer is null || _options.Sharing != PathSharing.Tree) return;
        _requests.Clear();
        _kept.Clear();
        int reserved = 0;
        for (int i = 0, at = 0; i < flight.Lanes.Count; at += flight.Counts[i], i++)
        {
            ReadOnlySpan<int> drawn = ids.Slice(at, flight.Counts[i]);
            if (flight.Lanes[i] is { } lane && lane.IsScored && drawn.ContainsAnyExcept(drawn[0]) && lane.Ids.Count > (lane.Score ??= new PathState()).Length) TryReserve(lane, lane.Ids.Count, ref reserved, makeRoom: false);
        }
        if (_requests.Count > 0) _scorer.Advance(_requests);
    }

    /// <summary>Gives each sample its token; samples that drew another one than the first get lanes of their own.</summary>
    private void Accept(Lane lane, ReadOnlySpan<int> ids, ReadOnlySpan<float> logProbs)
    {
        // All samples of a lane are drawn from one row of logits: where it is damaged, none of them has a token.
        if (ids[0] == Sample.Unusable)
        {
            End(lane, LaneEnd.Broken);
            return;
        }
        if (ids.ContainsAnyExcept(ids[0]))
        {
            Draw[] draws = [.. lane.Draws];
            lane.Draws.Clear();
            var parted = new List<Lane>();
            for (int i = 0; i < ids.Length; i++)
            {
                int token = ids[i];
                Lane? to = token == ids[0] ? lane : parted.Find(x => x.Ids[^1] == token);
                if (to is null)
                {
                    to = lane.Split();
                    to.Order = lane.Order + draws[i].Index - draws[0].Index;
                    to.Policy = _policy.Fork(lane.Policy!);
                    to.Score = lane.Score is null ? null : _scorer!.Fork(lane.Score, deep: false);
                    to.Ids.Add(token);
                    to.LogProbs.Add(logProbs[i]);
                    parted.Add(to);
                }
                to.Draws.Add(draws[i]);
            }
            foreach (Lane other in parted)
            {
                Examine(other);
                if (other.Finish == LaneEnd.None) Add(other);
            }
        }
        lane.Ids.Add(ids[0]);
        lane.LogProbs.Add(logProbs[0]);
        Examine(lane);
    }

    private void Examine(Lane lane)
    {
        if (_isEnd[lane.Ids[^1]]) End(lane, LaneEnd.EndToken);
        else if (_options.AnswerEnd.IsMet(lane.Response)) End(lane, LaneEnd.AnswerEnd);
        else if (lane.Ids.Count >= lane.Limit) End(lane, LaneEnd.Length);
        else if (lane.EndsAtSteps && _options.StepEnd.IsMet(lane.Step)) End(lane, LaneEnd.StepEnd);
    }

    private void End(Lane lane, LaneEnd reason)
    {
        lane.Finish = reason;
        _ended.Add(lane);
    }
}
