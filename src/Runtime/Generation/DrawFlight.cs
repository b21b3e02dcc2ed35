using Bellman.Kernels;

namespace Bellman.Runtime.Generation;

/// <summary>
/// Tokens of one pass on their way to the host: the device draws them, and may go on from them, before the host has seen them. A lane
/// that is not to be told any more is taken out.
/// </summary>
internal sealed class DrawFlight(Device device) : IDisposable
{
    private Readback? _ids, _logProbs;
    private int _capacity;

    /// <summary>Lanes in the order of their draws; null for one that was taken out.</summary>
    public List<Lane?> Lanes { get; } = [];

    /// <summary>How many draws each lane has.</summary>
    public List<int> Counts { get; } = [];

    /// <summary>The tokens, in the order of lanes and of their draws; once they have landed.</summary>
    public ReadOnlySpan<int> Ids => _ids!.Wait<int>();

    /// <summary>Their log π.</summary>
    public ReadOnlySpan<float> LogProbs => _logProbs!.Wait<float>();

    /// <summary>Queues the copies to the host, behind the pass that draws the tokens and before what comes next.</summary>
    public void Start(Tensor ids, Tensor logProbs)
    {
        if (_capacity < ids.Rows)
        {
            Dispose();
            _capacity = Math.Max(64, 2 * ids.Rows);
            (_ids, _logProbs) = (device.CreateReadback(_capacity * sizeof(int)), device.CreateReadback(_capacity * sizeof(float)));
        }
        _ids!.Start(ids);
        _logProbs!.Start(logProbs);
    }

    /// <summary>Takes a lane out.</summary>
    public void Drop(Lane lane)
    {
        int at = Lanes.IndexOf(lane);
        if (at >= 0) Lanes[at] = null;
        lane.Flight = null;
    }

    public void Dispose()
    {
        _ids?.Dispose();
        _logProbs?.Dispose();
    }
}
