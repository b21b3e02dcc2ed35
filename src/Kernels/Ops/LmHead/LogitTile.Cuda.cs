using Bellman.Kernels.Cuda;
using Bellman.Kernels.Cuda.Staging;
using Bellman.Kernels.Ops.MatMul;

namespace Bellman.Kernels.Ops.LmHead;

/// <summary>What computes tiles of logits.</summary>
internal enum LogitUnits
{
    /// <summary>One chain of fused multiply-adds a logit, for float32.</summary>
    Plain,

    /// <summary>mma.sync.</summary>
    Warp,

    /// <summary>wgmma and tensor maps.</summary>
    Group,
}

/// <summary>How tiles of logits are computed, and whether the reference's come along.</summary>
internal readonly record struct LogitForm(LogitUnits Units, bool Reference)
{
    private const int PlainRows = 16, PlainWords = 32;

    /// <summary>Rows of hidden states of a tile.</summary>
    public int TileRows => Units == LogitUnits.Plain ? PlainRows : 128;

    /// <summary>Words of a tile. Two tiles at once leave registers for half the width.</summary>
    public int TileWords => Units == LogitUnits.Plain ? PlainWords : Units == LogitUnits.Group && !Reference ? 256 : 128;

    /// <summary>Threads of a block.</summary>
    public int Threads => Units switch { LogitUnits.Plain => 32, LogitUnits.Warp => TileProduct.Threads, _ => GroupProduct.Threads };

    /// <summary>Element type of hidden states and weights.</summary>
    public DType Type => Units == LogitUnits.Plain ? DType.F32 : DType.BF16;

    /// <summary>The end of a kernel's name.</summary>
    public string Suffix => Units switch { LogitUnits.Plain => "_f32", LogitUnits.Group => "_hopper", _ => "" };
}

/// <summary>
/// Tiles of unscaled logits, hidden · Wᵀ, in registers: a block has some rows (by its X) and goes through some tiles of words (by its Y), for the
/// policy and, where there is one, the reference. A thread holds <see cref="RowSlots"/> rows by <see cref="WordSlots"/> words of each tile, which lie
/// as in mma's results: of every 8 words two neighbours, and four lanes share a row.
/// </summary>
internal abstract class LogitTile
{
    private readonly List<(Floats Hidden, Floats Weight)> _pointers = [];
    private readonly List<(TensorMap Hidden, TensorMap Weight)> _maps = [];

    protected LogitTile(KernelBuilder k, LogitForm form)
    {
        (K, Form) = (k, form);
        foreach (string side in form.Reference ? (string[])["", "reference"] : [""])
        {
            string hidden = side.Length == 0 ? "hidden" : "referenceHidden", weight = side.Length == 0 ? "weight" : "referenceWeight";
            if (form.Units == LogitUnits.Group) _maps.Add((k.ArgumentMap(hidden, form.TileRows), k.ArgumentMap(weight, form.TileWords)));
            else _pointers.Add((k.ArgumentFloats(hidden, form.Type), k.ArgumentFloats(weight, form.Type)));
        }
        (Rows, Words) = (k.ArgumentS32("rows"), k.ArgumentS32("words"));
        Depths = [k.ArgumentS32("depth"), k.ArgumentS32("referenceDepth")];
        S32 tilesOfBlock = k.ArgumentS32("tilesOfBlock");
        BlockRow = k.BlockX * form.TileRows;
        FirstTile = k.BlockY * tilesOfBlock;
        EndTile = (FirstTile + tilesOfBlock).Min((Words + (form.TileWords - 1)) / form.TileWords);
    }

    protected KernelBuilder K { get; }

    protected LogitForm Form { get; }

    protected S32[] Depths { get; }

    protected S32 FirstTile { get; }

    protected S32 EndTile { get; }

    protected IReadOnlyList<(Floats Hidden, Floats Weight)> Pointers => _pointers;

    protected IReadOnlyList<(TensorMap Hidden, TensorMap Weight)> Maps => _maps;

    /// <summary>Policy, and reference.</summary>
    public int Sides => Form.Reference ? 2 : 1;

    /// <summary>Rows of the hidden states.</summary>
    public S32 Rows { get; }

    /// <summary>Words of the weights.</summary>
    public S32 Words { get; }

    /// <summary>First row of the block.</summary>
    public S32 BlockRow { get; }

    /// <summary>Rows that a thread has a part of.</summary>
    public abstract int RowSlots { get; }

    /// <summary>Words of each row that a thread has.</summary>
    public abstract int WordSlots { get; }

    /// <summary>Warps that share a row; they have it side by side.</summary>
    public virtual int WarpsAcross => 1;

    /// <summary>A slot's row within the block.</summary>
    public abstract S32 Row(int slot);

    /// <summary>A thread's first word within the tile.</summary>
    public virtual S32 FirstWord => (K.Lane & 3) << 1;

    /// <summary>How far a slot's word lies behind the first.</summary>
    public static int Offset(int slot) => slot / 2 * 8 + slot % 2;

    /// <summary>A logit.</summary>
    public abstract F32 this[int side, int row, int word] { get; set; }

    /// <summary>Stages the way through the block's tiles: what comes before the first, what becomes of each (its first word is given), what follows the last.</summary>
    public abstract void Run(Action begin, Action<S32> use, Action finish);

    /// <summary>Opens a kernel's arguments.</summary>
    public static LogitTile New(KernelBuilder k, LogitForm form) => form.Units switch
    {
        LogitUnits.Plain => new PlainLogits(k, form),
        LogitUnits.Warp => new WarpLogits(k, form),
        _ => new GroupLogits(k, form),
    };

    /// <summary>The form for a head on a device.</summary>
    public static LogitForm FormOf(KernelDevice device, LogitInput policy, LogitInput reference)
    {
        bool mapped = device.HasWarpGroups && policy.CanBeMapped && (reference.Hidden.IsEmpty || reference.CanBeMapped);
        return new(policy.Hidden.Type == DType.F32 ? LogitUnits.Plain : mapped ? LogitUnits.Group : LogitUnits.Warp, !reference.Hidden.IsEmpty);
    }

    /// <summary>The arguments that <see cref="New"/> opened; the kernel's own follow.</summary>
    public static KernelArgument[] Arguments(LogitForm form, LogitInput policy, LogitInput reference, int tilesOfBlock, ReadOnlySpan<KernelArgument> own)
    {
        KernelArgument Matrix(Tensor tensor) => form.Units == LogitUnits.Group ? KernelArgument.Map(tensor, tensor.Rows, tensor.Columns) : tensor;
        KernelArgument[] sides = form.Reference
            ? [Matrix(policy.Hidden), Matrix(policy.Weight), Matrix(reference.Hidden), Matrix(reference.Weight)] : [Matrix(policy.Hidden), Matrix(policy.Weight)];
        return [.. sides, policy.Hidden.Rows, policy.Weight.Rows, policy.Hidden.Columns, form.Reference ? reference.Hidden.Columns : 0, tilesOfBlock, .. own];
    }

    /// <summary>Blocks for some rows and words.</summary>
    public static Grid GridFor(LogitForm form, int rows, int words, int tilesOfBlock) =>
        new((rows + form.TileRows - 1) / form.TileRows, (Tiles(form, words) + tilesOfBlock - 1) / tilesOfBlock);

    /// <summary>Tiles of some words.</summary>
    public static int Tiles(LogitForm form, int words) => (words + form.TileWords - 1) / form.TileWords;

    /// <summary>By plain arithmetic, one warp a block.</summary>
    private sealed class PlainLogits(KernelBuilder k, LogitForm form) : LogitTile(k, form)
    {
        private readonly Variable<F32>[] _logits = k.Variables<F32>((form.Reference ? 2 : 1) * 2 * form.TileWords / 4, 0f);

        public override int RowSlots => 2;

        public override int WordSlots => Form.TileWords / 4;

        public override F32 this[int side, int row, int word]
        {
            get => Slot(side, row, word).Value;
            set => Slot(side, row, word).Value = value;
        }

        public override S32 Row(int slot) => Accumulator.Row(K.Lane, 2 * slot);

        public override void Run(Action begin, Action<S32> use, Action finish)
        {
            begin();
            K.For(FirstTile, EndTile, 1, tile =>
            {
                for (int side = 0; side < Sides; side++) Multiply(side, tile * Form.TileWords + FirstWord);
                use(tile * Form.TileWords);
            });
            finish();
        }

        private void Multiply(int side, S32 word)
        {
            S32 strideBytes = Depths[side] << 2;
            // Places beyond the ends repeat the last row or word; nobody looks at them.
            Floats[] left = [.. Enumerable.Range(0, RowSlots).Select(i => Pointers[side].Hidden.Advance((BlockRow + Row(i)).Min(Rows - 1), strideBytes))];
            Floats[] right = [.. Enumerable.Range(0, WordSlots).Select(i => Pointers[side].Weight.Advance((word + Offset(i)).Min(Words - 1), strideBytes))];
            foreach (Variable<F32> slot in _logits.AsSpan(side * RowSlots * WordSlots, RowSlots * WordSlots)) slot.Value = 0f;
            K.For(Depths[side], at =>
            {
                F32[] a = [.. left.Select(x => x[at])], b = [.. right.Select(x => x[at])];
                for (int i = 0; i < RowSlots; i++)
                    for (int j = 0; j < WordSlots; j++) Slot(side, i, j).Value = a[i].Fma(b[j], Slot(side, i, j));
            });
        }

        private Variable<F32> Slot(int side, int row, int word) => _logits[(side * RowSlots + row) * WordSlots + word];
    }

    /// <summary>By the tiles of <see cref="TileProduct"/>: the copies of the next product begin before a tile is used.</summary>
    private sealed class WarpLogits : LogitTile
    {
        private readonly TileProduct _product;
        private readonly Accumulator[][] _sums;

        public WarpLogits(KernelBuilder k, LogitForm form) : base(k, form)
        {
            _product = new TileProduct(k, alongA: true, alongB: true);
            _sums = [.. Enumerable.Range(0, Sides).Select(_ => _product.NewSums())];
        }

        public override int RowSlots => 2 * TileProduct.FragmentsM;

        public override int WordSlots => 2 * TileProduct.FragmentsN;

        public override int WarpsAcross => TileProduct.WarpsAcross;

        public override S32 FirstWord => _product.WarpColumn + base.FirstWord;

        public override F32 this[int side, int row, int word]
        {
            get => _sums[side][row / 2 * TileProduct.FragmentsN + word / 2][row % 2 * 2 + word % 2];
            set => _sums[side][row / 2 * TileProduct.FragmentsN + word / 2][row % 2 * 2 + word % 2] = value;
        }

        public override S32 Row(int slot) => _product.WarpRow + slot / 2 * 16 + Accumulator.Row(K.Lane, slot % 2 * 2);

        public override void Run(Action begin, Action<S32> use, Action finish)
        {
            // Computed again for each product, so that they take no registers while a tile is used.
            TileProduct.OperandPlace Left(int side) => _product.A.Of(Pointers[side].Hidden, BlockRow, Rows, Depths[side], Depths[side]);
            TileProduct.OperandPlace Right(int side, S32 tile) => _product.B.Of(Pointers[side].Weight, tile * TileProduct.TileN, Words, Depths[side], Depths[side]);
            void Begin(int side, S32 tile) => _product.Begin(Left(side), Right(side, tile), TileProduct.Steps(Depths[side]));

            begin();
            Begin(0, FirstTile);
            K.For(FirstTile, EndTile, 1, tile =>
            {
                for (int side = 0; side < Sides; side++)
                {
                    foreach (Accumulator sum in _sums[side])
                        for (int register = 0; register < 4; register++) sum[register] = 0f;
                    _product.Multiply(Left(side), Right(side, tile), TileProduct.Steps(Depths[side]), _sums[side]);
                    K.Barrier();
                    if (side + 1 < Sides) Begin(side + 1, tile);
                    else K.If(tile + 1 < EndTile, () => Begin(0, tile + 1));
                }
                use(tile * TileProduct.TileN);
            });
            finish();
        }
    }

    /// <summary>By <see cref="GroupProduct"/>.</summary>
    private sealed class GroupLogits : LogitTile
    {
        private readonly GroupProduct _product;
        private GroupAccumulator[] _sums = [];
        private S32 _firstRow;

        public GroupLogits(KernelBuilder k, LogitForm form) : base(k, form) => _product = new GroupProduct(k, Maps[0].Hidden, true, Maps[0].Weight, true, form.TileWords);

        public override int RowSlots => 2;

        public override int WordSlots => Form.TileWords / 4;

        public override F32 this[int side, int row, int word]
        {
            get => _sums[side][word / 2, row * 2 + word % 2];
            set => _sums[side][word / 2, row * 2 + word % 2] = value;
        }

        public override S32 Row(int slot) => _firstRow + Accumulator.Row(K.Lane, 2 * slot);

        public override void Run(Action begin, Action<S32> use, Action finish)
        {
            S32 Steps(int side) => GroupProduct.Steps(Depths[side]);
            void ForTiles(Action<S32> body) => K.For(FirstTile, EndTile, 1, tile => body(tile * Form.TileWords));

            _product.Run(copier => ForTiles(word =>
            {
                for (int side = 0; side < Sides; side++) copier.Bring(Maps[side].Hidden, Maps[side].Weight, BlockRow, word, Steps(side));
            }), multiplier =>
            {
                _firstRow = multiplier.FirstRow;
                _sums = [.. Enumerable.Range(0, Sides).Select(_ => new GroupAccumulator(K, Form.TileWords))];
                begin();
                ForTiles(word =>
                {
                    for (int side = 0; side < Sides; side++) multiplier.Multiply(_sums[side], Steps(side));
                    use(word);
                });
                finish();
            });
        }
    }
}

/// <summary>Hidden states [N, C] and weights [V, C] of one side.</summary>
internal readonly record struct LogitInput(Tensor Hidden, Tensor Weight)
{
    /// <summary>Whether tensor maps can see both.</summary>
    public bool CanBeMapped => Hidden.Address % 16 == 0 && Weight.Address % 16 == 0 && Hidden.Columns % SharedTile.ChunkElements == 0;

    /// <summary>The logits of some rows and words.</summary>
    public LogitInput Part(int row, int rows, int word, int words) => Hidden.IsEmpty ? default : new(Hidden.Slice(row, rows), Weight.Slice(word, words));
}
