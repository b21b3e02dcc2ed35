using System.Runtime.CompilerServices;
using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cuda.Libraries;

/// <summary>A product C (+)= A·B of row-major matrices, as <c>MatMulCuda</c> has it.</summary>
/// <param name="AlongA">Whether A is [M, K], else [K, M].</param>
/// <param name="AlongB">Whether B is [N, K], else [K, N].</param>
/// <param name="Add">Whether C is added to.</param>
/// <param name="A">A; rows may be longer than what is used.</param>
/// <param name="B">B; likewise.</param>
/// <param name="Bias">[1, N], added to every row, or empty.</param>
/// <param name="C">[M, ≥ N].</param>
/// <param name="Columns">N.</param>
/// <param name="Depth">K.</param>
internal readonly record struct Product(bool AlongA, bool AlongB, bool Add, Tensor A, Tensor B, Tensor Bias, Tensor C, int Columns, int Depth);

/// <summary>
/// Products by cuBLASLt. The library counts in columns where Bellman counts in rows, so it is asked for Cᵀ = Bᵀ·Aᵀ. What the library knows of a
/// shape is asked once and kept.
/// </summary>
internal sealed unsafe class CublasLt
{
    private const int NotSupported = 15, Compute32F = 68, Real32F = 0, Real16Bf = 14;
    private const int TransposeA = 3, TransposeB = 4, Epilogue = 7, BiasPointer = 8, BiasType = 26, MaxWorkspaceBytes = 1, FirstAlignment = 5, LastAlignment = 8, BiasEpilogue = 4;
    private const long BestAlignment = 256;
    private readonly ICublasLt _library;
    private readonly nint _handle;
    private readonly Dictionary<Shape, Plan?> _plans = [];

    private CublasLt(ICublasLt library, nint handle) => (_library, _handle) = (library, handle);

    /// <summary>Bytes of workspace that the library is lent, as its documentation advises for Hopper.</summary>
    public const int WorkspaceBytes = 32 << 20;

    private readonly record struct Shape(bool AlongA, bool AlongB, bool Add, bool Bias, DType Output, int Rows, int Columns, int Depth, int StrideA, int StrideB, int StrideC, int Alignment);

    private sealed record Plan(nint Description, nint A, nint B, nint C, MatmulHeuristic Heuristic);

    /// <summary>The library, ready for the current context; null, with the reason, where it cannot be used there.</summary>
    public static CublasLt? Open(ICublasLt library, out string reason)
    {
        nint handle = 0;
        int status = library.Create(&handle);
        // A library that is newer than the driver says so here.
        reason = status == 0 ? $"cuBLASLt {library.GetVersion()}" : $"cuBLASLt {library.GetVersion()} cannot be used: {Describe(library, status)}";
        return status == 0 ? new(library, handle) : null;
    }

    /// <summary>Queues a product; false where the library has no algorithm for it.</summary>
    /// <exception cref="DeviceException">A call failed; the message names it.</exception>
    public bool TryMultiply(in Product product, Tensor workspace, nint stream)
    {
        var shape = new Shape(
            product.AlongA, product.AlongB, product.Add, !product.Bias.IsEmpty, product.C.Type, product.C.Rows, product.Columns, product.Depth, product.A.Columns, product.B.Columns, product.C.Columns,
            AlignmentOf(product.A.Address | product.B.Address | product.C.Address | product.Bias.Address | BestAlignment));
        if (!_plans.TryGetValue(shape, out Plan? plan)) _plans[shape] = plan = Make(shape, product.Bias.Address);
        if (plan is null) return false;
        long bias = product.Bias.Address;
        if (bias != 0) Check(_library.MatmulDescSetAttribute(plan.Description, BiasPointer, &bias, sizeof(long)));
        float one = 1, factor = product.Add ? 1 : 0;
        MatmulHeuristic heuristic = plan.Heuristic;
        Check(
            _library.Matmul(
                _handle, plan.Description, &one, (nint)product.B.Address, plan.B, (nint)product.A.Address, plan.A, &factor, (nint)product.C.Address, plan.C, (nint)product.C.Address, plan.C,
                heuristic.Algorithm, (nint)workspace.Address, heuristic.WorkspaceBytes, stream),
            $"{product.C.Rows}×{product.Columns}×{product.Depth}", "_library.Matmul()");
        return true;
    }

    private Plan? Make(in Shape shape, long bias)
    {
        nint description = 0, a = 0, b = 0, c = 0, preference = 0;
        Check(_library.MatmulDescCreate(&description, Compute32F, Real32F));
        // By columns, [N, K] in rows is K×N, and wants turning; [K, N] is N×K as it is. The other operand the other way round.
        int turnB = shape.AlongB ? 1 : 0, turnA = shape.AlongA ? 0 : 1, biasEpilogue = BiasEpilogue, biasType = Real16Bf;
        Check(_library.MatmulDescSetAttribute(description, TransposeA, &turnB, sizeof(int)));
        Check(_library.MatmulDescSetAttribute(description, TransposeB, &turnA, sizeof(int)));
        if (shape.Bias)
        {
            Check(_library.MatmulDescSetAttribute(description, Epilogue, &biasEpilogue, sizeof(int)));
            Check(_library.MatmulDescSetAttribute(description, BiasPointer, &bias, sizeof(long)));
            Check(_library.MatmulDescSetAttribute(description, BiasType, &biasType, sizeof(int)));
        }
        Layout(&b, shape.AlongB, shape.Columns, shape.Depth, shape.StrideB);
        Layout(&a, shape.AlongA, shape.Rows, shape.Depth, shape.StrideA);
        Check(_library.MatrixLayoutCreate(&c, shape.Output == DType.BF16 ? Real16Bf : Real32F, (ulong)shape.Columns, (ulong)shape.Rows, shape.StrideC));
        Check(_library.MatmulPreferenceCreate(&preference));
        long workspace = WorkspaceBytes;
        Check(_library.MatmulPreferenceSetAttribute(preference, MaxWorkspaceBytes, &workspace, sizeof(long)));
        int alignment = shape.Alignment;
        for (int attribute = FirstAlignment; attribute <= LastAlignment; attribute++) Check(_library.MatmulPreferenceSetAttribute(preference, attribute, &alignment, sizeof(int)));
        MatmulHeuristic heuristic = default;
        int found = 0, status = _library.MatmulAlgoGetHeuristic(_handle, description, b, a, c, c, preference, 1, &heuristic, &found);
        _library.MatmulPreferenceDestroy(preference);
        if (status == 0 && found > 0 && heuristic.Status == 0) return new(description, a, b, c, heuristic);
        _library.MatrixLayoutDestroy(a);
        _library.MatrixLayoutDestroy(b);
        _library.MatrixLayoutDestroy(c);
        _library.MatmulDescDestroy(description);
        if (status != NotSupported) Check(status, $"{shape.Rows}×{shape.Columns}×{shape.Depth}", "_library.MatmulAlgoGetHeuristic()");
        return null;
    }

    // The largest power of two that divides all.
    private static int AlignmentOf(long addresses) => (int)(addresses & -addresses);

    private void Layout(nint* layout, bool along, int across, int depth, int stride) => Check(
        _library.MatrixLayoutCreate(layout, Real16Bf, (ulong)(along ? depth : across), (ulong)(along ? across : depth), stride));

    private void Check(int status, string doing = "", [CallerArgumentExpression(nameof(status))] string call = "")
    {
        if (status == 0) return;
        int end = call.IndexOf('('), start = call.LastIndexOf('.', end);
        throw new DeviceException(
            $"cuBLASLt: cublasLt{call[(start + 1)..end]}{(doing.Length == 0 ? "" : $" ({doing})")} failed: {Describe(_library, status)}; take the library out of the loader's path, and own kernels are used.");
    }

    private static string Describe(ICublasLt library, int status)
    {
        byte* text = library.GetStatusString(status);
        return text is null ? $"status {status}" : $"{Marshal.PtrToStringUTF8((nint)text)} ({status})";
    }
}
