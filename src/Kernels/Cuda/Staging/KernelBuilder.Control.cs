using System.Runtime.CompilerServices;
using Bellman.Kernels.Cuda.Ptx;

namespace Bellman.Kernels.Cuda.Staging;

/// <content>Control flow, barriers, exchange between lanes.</content>
internal sealed partial class KernelBuilder
{
    /// <summary>Runs the branch whose lanes the predicate chooses. Each branch is staged once.</summary>
    public void If(Pred condition, Action then, Action? otherwise = null, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        At(file, line);
        int head = Open(Forms.If, Use(condition.Value, RegisterType.Pred));
        then();
        int branch = -1;
        if (otherwise is not null)
        {
            branch = _instructions.Count;
            Append(Forms.Else, [], [], 0);
            otherwise();
        }
        At(file, line);
        int end = Close(Forms.EndIf, head);
        if (branch < 0) return;
        // If jumps to the other branch, and that one to the end.
        _instructions[head].Partner = branch;
        _instructions[branch].Partner = end;
    }

    /// <summary>Runs the body while the condition holds; lanes leave one by one.</summary>
    public void While(Func<Pred> condition, Action body, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        At(file, line);
        int head = Open(Forms.Loop);
        Pred leave = !condition();
        int exit = _instructions.Count;
        Append(Forms.Break, [], [Use(leave.Value, RegisterType.Pred)], 0);
        body();
        At(file, line);
        _instructions[exit].Partner = Close(Forms.EndLoop, head);
    }

    /// <summary>Runs the body for i = first, first + step, … below end.</summary>
    public void For(S32 first, S32 end, S32 step, Action<S32> body, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        At(file, line);
        Variable<S32> i = Variable(first, file, line);
        int head = Open(Forms.Loop);
        S32 now = i.Value;
        Pred leave = end <= now;
        int exit = _instructions.Count;
        Append(Forms.Break, [], [Use(leave.Value, RegisterType.Pred)], 0);
        body(now);
        At(file, line);
        EmitTo(Forms.AddS32, i.Register, new Value(this, i.Register, 0), step.Value);
        _instructions[exit].Partner = Close(Forms.EndLoop, head);
    }

    /// <summary>Runs the body for i = 0, 1, … below end.</summary>
    public void For(S32 end, Action<S32> body, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => For(0, end, 1, body, file, line);

    /// <summary>Waits for all threads of the block, and orders memory between them.</summary>
    public void Barrier([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Plain(Forms.Barrier, file, line);

    /// <summary>Waits for all lanes of the warp, and orders memory between them.</summary>
    public void WarpBarrier([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Plain(Forms.WarpBarrier, file, line);

    /// <summary>Orders this thread's accesses for the whole device.</summary>
    public void Fence([CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Plain(Forms.Fence, file, line);

    /// <summary>The value of the lane whose number differs in the bits of the mask.</summary>
    public F32 ShuffleXor(F32 value, int mask, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) =>
        Exchange<F32>(Forms.ShuffleXorF32, value.Value, mask, file, line);

    /// <summary>The value of the lane whose number differs in the bits of the mask.</summary>
    public S32 ShuffleXor(S32 value, int mask, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) =>
        Exchange<S32>(Forms.ShuffleXorB32, value.Value, mask, file, line);

    /// <summary>The value of the lane below by a distance; the lowest lanes keep their own.</summary>
    public F32 ShuffleUp(F32 value, int distance, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) =>
        Exchange<F32>(Forms.ShuffleUpF32, value.Value, distance, file, line);

    /// <summary>The value of the lane above by a distance; the highest lanes keep their own.</summary>
    public F32 ShuffleDown(F32 value, int distance, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) =>
        Exchange<F32>(Forms.ShuffleDownF32, value.Value, distance, file, line);

    /// <summary>The value of one lane for all.</summary>
    public F32 ShuffleFrom(F32 value, int lane, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) =>
        Exchange<F32>(Forms.ShuffleLaneF32, value.Value, lane, file, line);

    /// <summary>The value of one lane for all.</summary>
    public S32 ShuffleFrom(S32 value, int lane, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) =>
        Exchange<S32>(Forms.ShuffleLaneB32, value.Value, lane, file, line);

    /// <summary>Whether the predicate holds in any lane of the warp.</summary>
    public Pred Any(Pred value, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Exchange<Pred>(Forms.VoteAny, value.Value, 0, file, line);

    /// <summary>Whether the predicate holds in all lanes of the warp.</summary>
    public Pred Every(Pred value, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Exchange<Pred>(Forms.VoteAll, value.Value, 0, file, line);

    /// <summary>The lanes in which the predicate holds, as bits.</summary>
    public S32 Ballot(Pred value, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) => Exchange<S32>(Forms.Ballot, value.Value, 0, file, line);

    /// <summary>The sum over the warp, equal to the bit in every lane.</summary>
    public F32 WarpSum(F32 value, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        for (int mask = 16; mask > 0; mask /= 2) value += ShuffleXor(value, mask, file, line);
        return value;
    }

    /// <summary>The largest of the warp, in every lane; NaN if any is.</summary>
    public F32 WarpMax(F32 value, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        for (int mask = 16; mask > 0; mask /= 2) value = value.Max(ShuffleXor(value, mask, file, line));
        return value;
    }

    /// <summary>
    /// The sum over the block, in every thread. All threads must come here. The scratch, one number a warp, can be used again
    /// after the next barrier of the block.
    /// </summary>
    public F32 BlockSum(F32 value, Shared<F32> scratch, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) =>
        AcrossWarps(WarpSum(value, file, line), scratch, (a, b) => a + b, file, line);

    /// <summary>The largest of the block, in every thread; as the sum otherwise.</summary>
    public F32 BlockMax(F32 value, Shared<F32> scratch, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) =>
        AcrossWarps(WarpMax(value, file, line), scratch, (a, b) => a.Max(b), file, line);

    /// <summary>
    /// The sum over the block in double, in every thread. All threads must come here. The scratch, one number a thread, can be used
    /// again after the next barrier of the block.
    /// </summary>
    public F64 BlockSum(F64 value, Shared<F64> scratch, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0)
    {
        S32 thread = Thread;
        scratch.Store(thread, value, file, line);
        int size = Threads;
        while (size > 1)
        {
            Barrier(file, line);
            int half = (size + 1) / 2;
            If(thread + half < size, () => scratch.Store(thread, scratch.Load(thread, file, line) + scratch.Load(thread + half, file, line), file, line), null, file, line);
            size = half;
        }
        Barrier(file, line);
        return scratch.Load(0, file, line);
    }

    /// <summary>
    /// Replaces each thread's number by the sum of its own and all later threads' numbers. All threads must come here. Afterwards
    /// the scratch, one number a thread, holds the results; it can be used again after the next barrier.
    /// </summary>
    public void SuffixScan(Variable<F64> value, Shared<F64> scratch, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) =>
        Scan(value, scratch, 1, file, line);

    /// <summary>As <see cref="SuffixScan"/>, with all earlier threads.</summary>
    public void PrefixScan(Variable<F64> value, Shared<F64> scratch, [CallerFilePath] string file = "", [CallerLineNumber] int line = 0) =>
        Scan(value, scratch, -1, file, line);

    private void Scan(Variable<F64> value, Shared<F64> scratch, int direction, string file, int line)
    {
        S32 thread = Thread;
        scratch.Store(thread, value, file, line);
        for (int distance = 1; distance < Threads; distance *= 2)
        {
            Barrier(file, line);
            S32 other = thread + direction * distance;
            Variable<F64> more = Variable<F64>(0.0, file, line);
            If(direction > 0 ? other < Threads : other >= 0, () => more.Value = scratch.Load(other, file, line), null, file, line);
            Barrier(file, line);
            value.Value += more;
            scratch.Store(thread, value, file, line);
        }
        Barrier(file, line);
    }

    private F32 AcrossWarps(F32 value, Shared<F32> scratch, Func<F32, F32, F32> combine, string file, int line)
    {
        if (Warps == 1) return value;
        If(Lane.Is(0), () => scratch.Store(Warp, value, file, line), null, file, line);
        Barrier(file, line);
        // Every thread reads every warp's number: in one order, so all get the same bits.
        F32 result = scratch.Load(0, file, line);
        for (int warp = 1; warp < Warps; warp++) result = combine(result, scratch.Load(warp, file, line));
        return result;
    }

    private int Open(Form form, params int[] sources)
    {
        Append(form, [], sources, 0);
        _open.Push(_instructions.Count - 1);
        return _instructions.Count - 1;
    }

    private int Close(Form form, int head)
    {
        if (_open.Count == 0 || _open.Pop() != head) throw new StagingException($"kernel {_name}, {_line}: control flow is not nested.");
        Append(form, [], [], 0);
        int end = _instructions.Count - 1;
        _instructions[head].Partner = end;
        _instructions[end].Partner = head;
        return end;
    }

    private void Plain(Form form, string file, int line, int immediate = 0)
    {
        At(file, line);
        Append(form, [], [], immediate);
    }

    private T Exchange<T>(Form form, Value value, int immediate, string file, int line) where T : struct, IStaged<T>
    {
        At(file, line);
        int destination = NewRegister(T.Type);
        int source = UseRegister(value, form.Sources[0]);
        Append(form, [destination], [source], immediate);
        return T.From(new(this, destination, 0));
    }
}
