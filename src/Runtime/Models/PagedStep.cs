using Bellman.Kernels;

namespace Bellman.Runtime.Models;

/// <summary>One inference call: n new tokens of some sequences, and where their keys and values live.</summary>
/// <param name="Ids">I32 [n, 1].</param>
/// <param name="Positions">I32 [n, 1].</param>
/// <param name="Slots">I32 [n, 1]: where each token's key and value go.</param>
/// <param name="RowSequence">I32 [n, 1]: row of the page table.</param>
/// <param name="RowLength">I32 [n, 1]: visible tokens, itself included.</param>
/// <param name="PageTable">I32 [sequences, m].</param>
public readonly record struct PagedStep(Tensor Ids, Tensor Positions, Tensor Slots, Tensor RowSequence, Tensor RowLength, Tensor PageTable);
