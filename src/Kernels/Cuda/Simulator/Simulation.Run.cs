using System.Numerics;
using Bellman.Kernels.Cuda.Ptx;

namespace Bellman.Kernels.Cuda.Simulator;

/// <content>The instruction loop.</content>
internal sealed unsafe partial class Simulation
{
    /// <summary>Runs a warp until it waits at a barrier or ends.</summary>
    private void RunWarp(SimulatedWarp warp)
    {
        Decoded[] code = _code;
        byte* rows = warp.Rows;
        bool checks = _shadow is not null;
        uint mask = warp.Mask;
        long executed = 0, steps = 0;
        int counter = warp.Counter;
        while (counter < code.Length)
        {
            ref Decoded x = ref code[counter];
            executed += BitOperations.PopCount(mask);
            if (++steps > InstructionLimit)
            {
                warp.Counter = counter;
                throw Fault(FaultKind.Endless, warp, -1, $"warp {warp.Number} ran {InstructionLimit} instructions without an end or a barrier");
            }
            if (checks)
            {
                warp.Counter = counter;
                CheckSet(warp, ref x, mask);
                if (_hasProducts) CheckProducts(warp, ref x);
            }
            if (x.Kind == FormKind.Lanewise)
            {
                x.Lanes(rows + x.D, rows + x.A, rows + x.B, rows + x.C, mask);
                counter++;
                continue;
            }
            warp.Counter = counter;
            warp.Mask = mask;
            switch (x.Kind)
            {
                case FormKind.If:
                    uint taken = mask & *(uint*)(rows + x.A);
                    Push(warp, mask, mask & ~taken);
                    // Past the head of the other branch, so that no instruction runs without lanes.
                    if (taken != 0) mask = taken;
                    else if (code[x.Partner].Kind == FormKind.Else)
                    {
                        mask = warp.Masks[2 * warp.Depth - 1];
                        counter = x.Partner;
                    }
                    else counter = x.Partner - 1;
                    break;
                case FormKind.Else:
                    uint other = warp.Masks[2 * warp.Depth - 1];
                    if (other != 0) mask = other;
                    else counter = x.Partner - 1;
                    break;
                case FormKind.EndIf:
                    mask = warp.Masks[2 * --warp.Depth];
                    break;
                case FormKind.Loop:
                    Push(warp, mask, 0);
                    break;
                case FormKind.Break:
                    uint staying = mask & ~*(uint*)(rows + x.A);
                    if (staying != 0) mask = staying;
                    else
                    {
                        mask = warp.Masks[2 * --warp.Depth];
                        counter = x.Partner;
                    }
                    break;
                case FormKind.EndLoop:
                    counter = x.Partner;
                    break;
                case FormKind.Barrier:
                    if (mask != LaneMath.All) throw Divergent(FaultKind.DivergentBarrier, warp, mask);
                    warp.State = WarpState.AtBarrier;
                    warp.Executed += executed;
                    return;
                case FormKind.WarpBarrier:
                    if (mask != LaneMath.All) throw Divergent(FaultKind.DivergentBarrier, warp, mask);
                    _shadow?.WarpBarrier(warp.Number);
                    break;
                case FormKind.Special: ReadSpecial(warp, ref x, mask); break;
                case FormKind.Parameter:
                    for (int lane = 0; lane < 32; lane++)
                        if (x.Form.Destinations[0].Bytes() == 4) ((uint*)(rows + x.D))[lane] = (uint)_argumentBits[x.Immediate];
                        else ((ulong*)(rows + x.D))[lane] = _argumentBits[x.Immediate];
                    break;
                case FormKind.SharedAddress:
                    for (int lane = 0; lane < 32; lane++)
                        if ((mask >> lane & 1) != 0) ((int*)(rows + x.D))[lane] = x.Immediate;
                    break;
                case FormKind.Load: Load(warp, ref x, mask); break;
                case FormKind.Store: Store(warp, ref x, mask); break;
                case FormKind.Reduce or FormKind.Atomic: Atomic(warp, ref x, mask); break;
                case FormKind.CopyAsync: StartCopies(warp, ref x, mask); break;
                case FormKind.CopyCommit:
                    for (int lane = 0; lane < 32; lane++)
                        if ((mask >> lane & 1) != 0) warp.Groups[lane]++;
                    break;
                case FormKind.CopyWait: Deliver(warp, mask, x.Immediate); break;
                case FormKind.Fence or FormKind.SetRegisters: break;
                case FormKind.ParameterAddress: new Span<long>(rows + x.D, 32).Fill(x.Immediate); break;
                case FormKind.MbarrierInit: InitMbarrier(warp, ref x, mask); break;
                case FormKind.MbarrierArrive: Arrive(warp, ref x, mask); break;
                case FormKind.MbarrierWait:
                    if (!TryWait(warp, ref x, mask))
                    {
                        warp.State = WarpState.AtMbarrier;
                        warp.Executed += executed;
                        return;
                    }
                    break;
                case FormKind.MbarrierFence: FenceMbarriers(warp); break;
                case FormKind.ProxyFence:
                    FenceMbarriers(warp);
                    _shadow?.FenceProxy(warp.Number);
                    break;
                case FormKind.TensorCopy: StartTensorCopy(warp, ref x, mask); break;
                case FormKind.GroupFence: RequireGroup(warp, mask); warp.FencedAt = warp.Time; break;
                case FormKind.GroupCommit: RequireGroup(warp, mask); warp.ProductGroup++; break;
                case FormKind.GroupWait: FinishProducts(warp, mask, x.Immediate); break;
                case FormKind.GroupMultiply: StartProduct(warp, ref x, mask); break;
                case FormKind.Shuffle: Exchange(warp, ref x, mask); break;
                case FormKind.Vote: Vote(warp, ref x, mask); break;
                case FormKind.LoadMatrix: LoadMatrix(warp, ref x, mask); break;
                case FormKind.MatrixMultiply: MultiplyMatrices(warp, ref x, mask); break;
                default: throw new InvalidOperationException($"the simulator does not know {x.Kind}");
            }
            counter++;
        }
        warp.Executed += executed;
        warp.Counter = counter;
        warp.State = WarpState.Finished;
        if (warp.Products.Count > 0) throw Fault(FaultKind.ForgottenProduct, warp, -1, $"the kernel ends with {warp.Products.Count} matrix products that were never waited for");
        if (warp.Copies.Count > 0)
            throw Fault(FaultKind.ForgottenCopy, warp, warp.Copies[0].Lane, $"the kernel ends with {warp.Copies.Count} asynchronous copies that were never waited for");
    }

    /// <summary>Every register read is set in the lanes that read it; those written are set from now on.</summary>
    private void CheckSet(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        uint[] set = warp.Set;
        foreach (int source in x.Sources)
        {
            uint missing = mask & ~set[source];
            if (missing != 0) throw Fault(FaultKind.UnsetRegister, warp, BitOperations.TrailingZeroCount(missing), $"reads register {source}, which this lane has not set");
        }
        foreach (int destination in x.Destinations) set[destination] |= mask;
    }

    private void Push(SimulatedWarp warp, uint mask, uint other)
    {
        if (2 * warp.Depth + 2 > warp.Masks.Length) throw new InvalidOperationException($"kernel {_kernel.Name}: control flow deeper than {warp.Masks.Length / 2} levels");
        warp.Masks[2 * warp.Depth] = mask;
        warp.Masks[2 * warp.Depth + 1] = other;
        warp.Depth++;
    }

    private SimulatorFault Divergent(FaultKind kind, SimulatedWarp warp, uint mask) => Fault(
        kind, warp, BitOperations.TrailingZeroCount(~mask), $"only {BitOperations.PopCount(mask)} of 32 lanes are here; the others left by a branch or a loop");

    private void ReadSpecial(SimulatedWarp warp, ref Decoded x, uint mask)
    {
        int* d = (int*)(warp.Rows + x.D);
        for (int lane = 0; lane < 32; lane++)
        {
            if ((mask >> lane & 1) == 0) continue;
            d[lane] = (SpecialRegister)x.Immediate switch
            {
                SpecialRegister.Thread => warp.Number * 32 + lane,
                SpecialRegister.Lane => lane,
                SpecialRegister.BlockX => _block % _grid.X,
                SpecialRegister.BlockY => _block / _grid.X % _grid.Y,
                SpecialRegister.BlockZ => _block / _grid.X / _grid.Y,
                _ => _grid.X,
            };
        }
    }
}
