namespace Bellman.Runtime.Models;

/// <summary>What a forward leaves for the backward.</summary>
public enum KeptActivations
{
    /// <summary>Nothing: no backward follows.</summary>
    Nothing,

    /// <summary>The input of each block: the backward runs the block's forward again before its own. Gradients are the same to the last bit.</summary>
    BlockInputs,

    /// <summary>All that the backward reads, but for what it makes again at next to no cost: normed inputs and silu(gate)·up.</summary>
    All,
}
