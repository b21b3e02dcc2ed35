using System.Reflection;
using Bellman.Kernels.Cuda.Simulator;
using static Bellman.Kernels.Cuda.Ptx.RegisterType;

namespace Bellman.Kernels.Cuda.Ptx;

/// <summary>
/// The instruction table: one row per form. Arithmetic is spelled with an explicit rounding so that the assembler fuses
/// nothing: the simulator and the card then agree to the bit wherever the form is not an approximation.
/// </summary>
internal static unsafe class Forms
{
    // float32
    public static readonly Form AddF32 = Lanewise("add.rn.f32", F32, [F32, F32], &LaneMath.Binary<float, LaneOps.Add<float>>);
    public static readonly Form SubF32 = Lanewise("sub.rn.f32", F32, [F32, F32], &LaneMath.Binary<float, LaneOps.Subtract<float>>);
    public static readonly Form MulF32 = Lanewise("mul.rn.f32", F32, [F32, F32], &LaneMath.Binary<float, LaneOps.Multiply<float>>);
    public static readonly Form DivF32 = Lanewise("div.rn.f32", F32, [F32, F32], &LaneMath.Binary<float, LaneOps.Divide<float>>);
    public static readonly Form FmaF32 = Lanewise("fma.rn.f32", F32, [F32, F32, F32], &LaneMath.Ternary<float, LaneOps.FusedSingle>);
    public static readonly Form MinF32 = Lanewise("min.NaN.f32", F32, [F32, F32], &LaneMath.Binary<float, LaneOps.Min<float>>, 70, 80);
    public static readonly Form MaxF32 = Lanewise("max.NaN.f32", F32, [F32, F32], &LaneMath.Binary<float, LaneOps.Max<float>>, 70, 80);
    public static readonly Form NegF32 = Lanewise("neg.f32", F32, [F32], &LaneMath.Unary<float, LaneOps.Negate<float>>);
    public static readonly Form AbsF32 = Lanewise("abs.f32", F32, [F32], &LaneMath.Unary<float, LaneOps.Absolute<float>>);
    public static readonly Form SqrtF32 = Lanewise("sqrt.rn.f32", F32, [F32], &LaneMath.Unary<float, LaneOps.SquareRoot<float>>);
    public static readonly Form RcpF32 = Lanewise("rcp.rn.f32", F32, [F32], &LaneMath.Unary<float, LaneOps.Reciprocal>);
    public static readonly Form Ex2F32 = Lanewise("ex2.approx.f32", F32, [F32], &LaneMath.Convert<float, float, LaneOps.PowerOfTwo>);
    public static readonly Form Lg2F32 = Lanewise("lg2.approx.f32", F32, [F32], &LaneMath.Convert<float, float, LaneOps.LogarithmOfTwo>);
    public static readonly Form RsqrtF32 = Lanewise("rsqrt.approx.f32", F32, [F32], &LaneMath.Convert<float, float, LaneOps.InverseRoot>);
    public static readonly Form MovF32 = Lanewise("mov.f32", F32, [F32], &LaneMath.Unary<float, LaneOps.Move<float>>);
    public static readonly Form SelF32 = Lanewise("selp.f32", F32, [F32, F32, Pred], &LaneMath.Select<float>);
    public static readonly Form LtF32 = Lanewise("setp.lt.f32", Pred, [F32, F32], &LaneMath.Compare<float, LaneOps.Less<float>>);
    public static readonly Form LeF32 = Lanewise("setp.le.f32", Pred, [F32, F32], &LaneMath.Compare<float, LaneOps.LessEqual<float>>);
    public static readonly Form EqF32 = Lanewise("setp.eq.f32", Pred, [F32, F32], &LaneMath.Compare<float, LaneOps.Equal<float>>);
    public static readonly Form NeF32 = Lanewise("setp.neu.f32", Pred, [F32, F32], &LaneMath.Compare<float, LaneOps.NotEqual<float>>);

    // float64
    public static readonly Form AddF64 = Lanewise("add.rn.f64", F64, [F64, F64], &LaneMath.Binary<double, LaneOps.Add<double>>);
    public static readonly Form SubF64 = Lanewise("sub.rn.f64", F64, [F64, F64], &LaneMath.Binary<double, LaneOps.Subtract<double>>);
    public static readonly Form MulF64 = Lanewise("mul.rn.f64", F64, [F64, F64], &LaneMath.Binary<double, LaneOps.Multiply<double>>);
    public static readonly Form DivF64 = Lanewise("div.rn.f64", F64, [F64, F64], &LaneMath.Binary<double, LaneOps.Divide<double>>);
    public static readonly Form FmaF64 = Lanewise("fma.rn.f64", F64, [F64, F64, F64], &LaneMath.Ternary<double, LaneOps.FusedDouble>);
    public static readonly Form MinF64 = Lanewise("min.f64", F64, [F64, F64], &LaneMath.Binary<double, LaneOps.MinNumber<double>>);
    public static readonly Form MaxF64 = Lanewise("max.f64", F64, [F64, F64], &LaneMath.Binary<double, LaneOps.MaxNumber<double>>);
    public static readonly Form NegF64 = Lanewise("neg.f64", F64, [F64], &LaneMath.Unary<double, LaneOps.Negate<double>>);
    public static readonly Form AbsF64 = Lanewise("abs.f64", F64, [F64], &LaneMath.Unary<double, LaneOps.Absolute<double>>);
    public static readonly Form SqrtF64 = Lanewise("sqrt.rn.f64", F64, [F64], &LaneMath.Unary<double, LaneOps.SquareRoot<double>>);
    public static readonly Form MovF64 = Lanewise("mov.f64", F64, [F64], &LaneMath.Unary<double, LaneOps.Move<double>>);
    public static readonly Form SelF64 = Lanewise("selp.f64", F64, [F64, F64, Pred], &LaneMath.Select<double>);
    public static readonly Form LtF64 = Lanewise("setp.lt.f64", Pred, [F64, F64], &LaneMath.Compare<double, LaneOps.Less<double>>);
    public static readonly Form LeF64 = Lanewise("setp.le.f64", Pred, [F64, F64], &LaneMath.Compare<double, LaneOps.LessEqual<double>>);
    public static readonly Form EqF64 = Lanewise("setp.eq.f64", Pred, [F64, F64], &LaneMath.Compare<double, LaneOps.Equal<double>>);
    public static readonly Form NeF64 = Lanewise("setp.neu.f64", Pred, [F64, F64], &LaneMath.Compare<double, LaneOps.NotEqual<double>>);

    // 32-bit integers
    public static readonly Form AddS32 = Lanewise("add.s32", B32, [B32, B32], &LaneMath.Binary<int, LaneOps.Add<int>>);
    public static readonly Form SubS32 = Lanewise("sub.s32", B32, [B32, B32], &LaneMath.Binary<int, LaneOps.Subtract<int>>);
    public static readonly Form MulS32 = Lanewise("mul.lo.s32", B32, [B32, B32], &LaneMath.Binary<int, LaneOps.Multiply<int>>);
    public static readonly Form MadS32 = Lanewise("mad.lo.s32", B32, [B32, B32, B32], &LaneMath.Ternary<int, LaneOps.MultiplyAdd>);
    public static readonly Form MulHighU32 = Lanewise("mul.hi.u32", B32, [B32, B32], &LaneMath.Convert2<uint, uint, LaneOps.HighProduct>);
    public static readonly Form DivS32 = Lanewise("div.s32", B32, [B32, B32], &LaneMath.Convert2<int, int, LaneOps.Quotient>);
    public static readonly Form RemS32 = Lanewise("rem.s32", B32, [B32, B32], &LaneMath.Convert2<int, int, LaneOps.Remainder>);
    public static readonly Form MinS32 = Lanewise("min.s32", B32, [B32, B32], &LaneMath.Binary<int, LaneOps.Min<int>>);
    public static readonly Form MaxS32 = Lanewise("max.s32", B32, [B32, B32], &LaneMath.Binary<int, LaneOps.Max<int>>);
    public static readonly Form AndB32 = Lanewise("and.b32", B32, [B32, B32], &LaneMath.Binary<int, LaneOps.And>);
    public static readonly Form OrB32 = Lanewise("or.b32", B32, [B32, B32], &LaneMath.Binary<int, LaneOps.Or>);
    public static readonly Form XorB32 = Lanewise("xor.b32", B32, [B32, B32], &LaneMath.Binary<int, LaneOps.Xor>);
    public static readonly Form ShlB32 = Lanewise("shl.b32", B32, [B32, B32], &LaneMath.Convert2<uint, uint, LaneOps.ShiftLeft>);
    public static readonly Form ShrU32 = Lanewise("shr.u32", B32, [B32, B32], &LaneMath.Convert2<uint, uint, LaneOps.ShiftRight>);
    public static readonly Form ShrS32 = Lanewise("shr.s32", B32, [B32, B32], &LaneMath.Convert2<int, int, LaneOps.ShiftRightSigned>);
    public static readonly Form MovB32 = Lanewise("mov.b32", B32, [B32], &LaneMath.Unary<int, LaneOps.Move<int>>);
    public static readonly Form SelB32 = Lanewise("selp.b32", B32, [B32, B32, Pred], &LaneMath.Select<int>);
    public static readonly Form LtS32 = Lanewise("setp.lt.s32", Pred, [B32, B32], &LaneMath.Compare<int, LaneOps.Less<int>>);
    public static readonly Form LeS32 = Lanewise("setp.le.s32", Pred, [B32, B32], &LaneMath.Compare<int, LaneOps.LessEqual<int>>);
    public static readonly Form EqS32 = Lanewise("setp.eq.s32", Pred, [B32, B32], &LaneMath.Compare<int, LaneOps.Equal<int>>);
    public static readonly Form NeS32 = Lanewise("setp.ne.s32", Pred, [B32, B32], &LaneMath.Compare<int, LaneOps.NotEqual<int>>);

    // 64-bit integers and addresses
    public static readonly Form AddS64 = Lanewise("add.s64", B64, [B64, B64], &LaneMath.Binary<long, LaneOps.Add<long>>);
    public static readonly Form SubS64 = Lanewise("sub.s64", B64, [B64, B64], &LaneMath.Binary<long, LaneOps.Subtract<long>>);
    public static readonly Form MadWideS32 = Lanewise("mad.wide.s32", B64, [B32, B32, B64], &LaneMath.MultiplyAddWide);
    public static readonly Form MovB64 = Lanewise("mov.b64", B64, [B64], &LaneMath.Unary<long, LaneOps.Move<long>>);
    public static readonly Form SelB64 = Lanewise("selp.b64", B64, [B64, B64, Pred], &LaneMath.Select<long>);
    public static readonly Form LtS64 = Lanewise("setp.lt.s64", Pred, [B64, B64], &LaneMath.Compare<long, LaneOps.Less<long>>);
    public static readonly Form LeS64 = Lanewise("setp.le.s64", Pred, [B64, B64], &LaneMath.Compare<long, LaneOps.LessEqual<long>>);
    public static readonly Form EqS64 = Lanewise("setp.eq.s64", Pred, [B64, B64], &LaneMath.Compare<long, LaneOps.Equal<long>>);
    public static readonly Form NeS64 = Lanewise("setp.ne.s64", Pred, [B64, B64], &LaneMath.Compare<long, LaneOps.NotEqual<long>>);

    // conversions
    public static readonly Form F32ToF64 = Lanewise("cvt.f64.f32", F64, [F32], &LaneMath.Convert<float, double, LaneOps.ToDouble>);
    public static readonly Form F64ToF32 = Lanewise("cvt.rn.f32.f64", F32, [F64], &LaneMath.Convert<double, float, LaneOps.ToSingle>);
    public static readonly Form S32ToF32 = Lanewise("cvt.rn.f32.s32", F32, [B32], &LaneMath.Convert<int, float, LaneOps.IntegerToSingle>);
    public static readonly Form S32ToF64 = Lanewise("cvt.rn.f64.s32", F64, [B32], &LaneMath.Convert<int, double, LaneOps.IntegerToDouble>);
    public static readonly Form F32ToS32 = Lanewise("cvt.rzi.s32.f32", B32, [F32], &LaneMath.Convert<float, int, LaneOps.SingleToInteger>);
    public static readonly Form S32ToS64 = Lanewise("cvt.s64.s32", B64, [B32], &LaneMath.Convert<int, long, LaneOps.IntegerToLong>);
    public static readonly Form BitsToF32 = Lanewise("mov.b32", F32, [B32], &LaneMath.Unary<int, LaneOps.Move<int>>);
    public static readonly Form F32ToBits = Lanewise("mov.b32", B32, [F32], &LaneMath.Unary<int, LaneOps.Move<int>>);
    public static readonly Form PackBf16 = Lanewise("cvt.rn.bf16x2.f32", B32, [F32, F32], &LaneMath.Convert2<float, uint, LaneOps.PackPair>, 70, 80);

    // predicates
    public static readonly Form AndPred = Lanewise("and.pred", Pred, [Pred, Pred], &LaneMath.PredicateAnd);
    public static readonly Form OrPred = Lanewise("or.pred", Pred, [Pred, Pred], &LaneMath.PredicateOr);
    public static readonly Form NotPred = Lanewise("not.pred", Pred, [Pred], &LaneMath.PredicateNot);
    public static readonly Form MovPred = Lanewise("mov.pred", Pred, [Pred], &LaneMath.PredicateMove);

    // where am I, what was I given
    public static readonly Form Special = new() { Spelling = "mov.u32", Kind = FormKind.Special, Destinations = [B32] };
    public static readonly Form SharedAddress = new() { Spelling = "mov.u32", Kind = FormKind.SharedAddress, Destinations = [B32] };
    public static readonly Form ParameterB64 = new() { Spelling = "ld.param.u64", Kind = FormKind.Parameter, Destinations = [B64] };
    public static readonly Form ParameterB32 = new() { Spelling = "ld.param.u32", Kind = FormKind.Parameter, Destinations = [B32] };
    public static readonly Form ParameterF32 = new() { Spelling = "ld.param.f32", Kind = FormKind.Parameter, Destinations = [F32] };
    public static readonly Form ParameterF64 = new() { Spelling = "ld.param.f64", Kind = FormKind.Parameter, Destinations = [F64] };

    // global memory
    public static readonly Form[] LoadGlobal = Loads(Space.Global), StoreGlobal = Stores(Space.Global);
    public static readonly Form AddGlobalF32 = new() { Spelling = "red.global.add.f32", Kind = FormKind.Reduce, Sources = [B64, F32], Space = Space.Global, ElementBytes = 4 };
    public static readonly Form AtomicAddGlobal = new()
    {
        Spelling = "atom.global.add.u32", Kind = FormKind.Atomic, Destinations = [B32], Sources = [B64, B32], Space = Space.Global, ElementBytes = 4,
    };

    // shared memory
    public static readonly Form[] LoadShared = Loads(Space.Shared), StoreShared = Stores(Space.Shared);

    // asynchronous copies
    public static readonly Form CopyAsync = new()
    {
        Spelling = "cp.async.cg.shared.global", Kind = FormKind.CopyAsync, Sources = [B32, B64, B32], Space = Space.Shared, ElementBytes = 16, Isa = 70, Target = 80,
    };

    public static readonly Form CopyCommit = new() { Spelling = "cp.async.commit_group", Kind = FormKind.CopyCommit, Isa = 70, Target = 80 };
    public static readonly Form CopyWait = new() { Spelling = "cp.async.wait_group", Kind = FormKind.CopyWait, Isa = 70, Target = 80 };

    // synchronisation and exchange
    public static readonly Form Barrier = new() { Spelling = "bar.sync", Kind = FormKind.Barrier };
    public static readonly Form WarpBarrier = new() { Spelling = "bar.warp.sync", Kind = FormKind.WarpBarrier, Target = 70 };
    public static readonly Form Fence = new() { Spelling = "fence.acq_rel.gpu", Kind = FormKind.Fence, Target = 70 };
    public static readonly Form ShuffleXorF32 = Shuffle("shfl.sync.bfly.b32", F32), ShuffleXorB32 = Shuffle("shfl.sync.bfly.b32", B32);
    public static readonly Form ShuffleUpF32 = Shuffle("shfl.sync.up.b32", F32), ShuffleUpB32 = Shuffle("shfl.sync.up.b32", B32);
    public static readonly Form ShuffleDownF32 = Shuffle("shfl.sync.down.b32", F32), ShuffleDownB32 = Shuffle("shfl.sync.down.b32", B32);
    public static readonly Form ShuffleLaneF32 = Shuffle("shfl.sync.idx.b32", F32), ShuffleLaneB32 = Shuffle("shfl.sync.idx.b32", B32);
    public static readonly Form VoteAny = new() { Spelling = "vote.sync.any.pred", Kind = FormKind.Vote, Destinations = [Pred], Sources = [Pred] };
    public static readonly Form VoteAll = new() { Spelling = "vote.sync.all.pred", Kind = FormKind.Vote, Destinations = [Pred], Sources = [Pred] };
    public static readonly Form Ballot = new() { Spelling = "vote.sync.ballot.b32", Kind = FormKind.Vote, Destinations = [B32], Sources = [Pred] };

    // matrices
    public static readonly Form LoadMatrix = Matrix("ldmatrix.sync.aligned.m8n8.x4.shared.b16"), LoadMatrixTransposed = Matrix("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16");
    public static readonly Form MultiplyBf16 = new()
    {
        Spelling = "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32", Kind = FormKind.MatrixMultiply, Destinations = [F32, F32, F32, F32],
        Sources = [B32, B32, B32, B32, B32, B32, F32, F32, F32, F32], Isa = 70, Target = 80,
    };

    // Hopper: barriers in memory, the tensor memory accelerator, matrix products of warp groups
    public static readonly Form ParameterAddress = new() { Spelling = "mov.b64", Kind = FormKind.ParameterAddress, Destinations = [B64] };
    public static readonly Form GenericParameter = Lanewise("cvta.param.u64", B64, [B64], &LaneMath.Unary<long, LaneOps.Move<long>>, 77, 70);
    public static readonly Form MbarrierInit = Hopper("mbarrier.init.shared::cta.b64", FormKind.MbarrierInit, [], [B32]);
    public static readonly Form MbarrierArrive = Hopper("mbarrier.arrive.shared::cta.b64", FormKind.MbarrierArrive, [], [B32]);
    public static readonly Form MbarrierExpect = Hopper("mbarrier.arrive.expect_tx.shared::cta.b64", FormKind.MbarrierArrive, [], [B32, B32]);
    public static readonly Form MbarrierWait = Hopper("mbarrier.try_wait.parity.shared::cta.b64", FormKind.MbarrierWait, [Pred], [B32, B32]);
    public static readonly Form MbarrierFence = Hopper("fence.mbarrier_init.release.cluster", FormKind.MbarrierFence, [], []);
    public static readonly Form ProxyFence = Hopper("fence.proxy.async.shared::cta", FormKind.ProxyFence, [], []);
    public static readonly Form TensorCopy = Hopper(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes", FormKind.TensorCopy, [], [B32, B64, B32, B32, B32]);

    public static readonly Form GroupFence = Hopper("wgmma.fence.sync.aligned", FormKind.GroupFence, [], []);
    public static readonly Form GroupCommit = Hopper("wgmma.commit_group.sync.aligned", FormKind.GroupCommit, [], []);
    public static readonly Form GroupWait = Hopper("wgmma.wait_group.sync.aligned", FormKind.GroupWait, [], []);
    public static readonly Form GroupMultiply64 = GroupMultiply(64), GroupMultiply128 = GroupMultiply(128), GroupMultiply256 = GroupMultiply(256);
    public static readonly Form GroupMultiplyRegisters64 = GroupMultiply(64, B32, B32, B32, B32), GroupMultiplyRegisters128 = GroupMultiply(128, B32, B32, B32, B32);
    public static readonly Form MoreRegisters = Hopper("setmaxnreg.inc.sync.aligned.u32", FormKind.SetRegisters, [], []);
    public static readonly Form FewerRegisters = Hopper("setmaxnreg.dec.sync.aligned.u32", FormKind.SetRegisters, [], []);

    // control flow, printed as labels and branches
    public static readonly Form If = new() { Spelling = "if", Kind = FormKind.If, Sources = [Pred] };
    public static readonly Form Else = new() { Spelling = "else", Kind = FormKind.Else };
    public static readonly Form EndIf = new() { Spelling = "end if", Kind = FormKind.EndIf };
    public static readonly Form Loop = new() { Spelling = "loop", Kind = FormKind.Loop };
    public static readonly Form Break = new() { Spelling = "break", Kind = FormKind.Break, Sources = [Pred] };
    public static readonly Form EndLoop = new() { Spelling = "end loop", Kind = FormKind.EndLoop };

    /// <summary>Every row of the table.</summary>
    public static IReadOnlyList<Form> All { get; } = Collect();

    /// <summary>The row of a load or store with this element class, element size and number of elements.</summary>
    public static Form Memory(Form[] table, RegisterType type, int bytes, int count)
    {
        foreach (Form form in table)
            if (form.Values == count && form.ElementBytes == bytes && (form.Kind == FormKind.Load ? form.Destinations[0] : form.Sources[1]) == type) return form;
        throw new ArgumentException($"no {table[0].Space} {table[0].Kind} of {count} {type} of {bytes} bytes; vectors have 1, 2 or 4 elements and at most 16 bytes");
    }

    private static Form Lanewise(
        string spelling, RegisterType destination, RegisterType[] sources, delegate*<byte*, byte*, byte*, byte*, uint, void> lanes, int isa = 60, int target = 60) =>
        new() { Spelling = spelling, Kind = FormKind.Lanewise, Destinations = [destination], Sources = sources, Lanes = lanes, Isa = isa, Target = target };

    private static Form Hopper(string spelling, FormKind kind, RegisterType[] destinations, RegisterType[] sources) =>
        new() { Spelling = spelling, Kind = kind, Destinations = destinations, Sources = sources, Isa = 80, Target = 90 };

    private static Form GroupMultiply(int columns, params RegisterType[] left) => Hopper(
        $"wgmma.mma_async.sync.aligned.m64n{columns}k16.f32.bf16.bf16", FormKind.GroupMultiply, [.. Enumerable.Repeat(F32, columns / 2)],
        [.. left.Length == 0 ? [B64] : left, B64, Pred]);

    private static Form Shuffle(string spelling, RegisterType type) =>
        new() { Spelling = spelling, Kind = FormKind.Shuffle, Destinations = [type], Sources = [type] };

    private static Form Matrix(string spelling) => new()
    {
        Spelling = spelling, Kind = FormKind.LoadMatrix, Destinations = [B32, B32, B32, B32], Sources = [B32], Space = Space.Shared, ElementBytes = 16, Isa = 65, Target = 75,
    };

    // A 16-bit number has no register class of its own: loads widen into, and stores take the lower half of, a 32-bit one.
    private static (RegisterType Type, string Suffix, int Bytes, int Count)[] Accesses =>
    [
        (B32, "u16", 2, 1), (B32, "b32", 4, 1), (B32, "v2.b32", 4, 2), (B32, "v4.b32", 4, 4), (F32, "f32", 4, 1), (F32, "v2.f32", 4, 2), (F32, "v4.f32", 4, 4),
        (B64, "b64", 8, 1), (B64, "v2.b64", 8, 2), (F64, "f64", 8, 1), (F64, "v2.f64", 8, 2),
    ];

    private static Form[] Loads(Space space) =>
    [
        .. Accesses.Select(x => new Form
        {
            Spelling = $"ld.{Name(space)}.{x.Suffix}", Kind = FormKind.Load, Destinations = [.. Enumerable.Repeat(x.Type, x.Count)],
            Sources = [Address(space)], Space = space, ElementBytes = x.Bytes,
        }),
    ];

    private static Form[] Stores(Space space) =>
    [
        .. Accesses.Select(x => new Form
        {
            Spelling = $"st.{Name(space)}.{x.Suffix}", Kind = FormKind.Store, Sources = [Address(space), .. Enumerable.Repeat(x.Type, x.Count)],
            Space = space, ElementBytes = x.Bytes,
        }),
    ];

    private static string Name(Space space) => space == Space.Global ? "global" : "shared";

    private static RegisterType Address(Space space) => space == Space.Global ? B64 : B32;

    private static List<Form> Collect()
    {
        var all = new List<Form>();
        foreach (FieldInfo field in typeof(Forms).GetFields(BindingFlags.Public | BindingFlags.Static))
        {
            if (field.GetValue(null) is Form form) all.Add(form);
            else if (field.GetValue(null) is Form[] forms) all.AddRange(forms);
        }
        return all;
    }
}
