using System.Runtime.InteropServices;

namespace Bellman.Kernels.Cuda.Libraries;

/// <summary>The cuBLASLt that is installed, if any: loaded when first asked for, its functions called through their addresses.</summary>
internal sealed unsafe class NativeCublasLt : ICublasLt
{
    private static readonly string[] Names = OperatingSystem.IsWindows()
        ? ["cublasLt64_13.dll", "cublasLt64_12.dll", "cublasLt64_11.dll"]
        : ["libcublasLt.so.13", "libcublasLt.so.12", "libcublasLt.so.11", "libcublasLt.so"];

    private static readonly Lazy<NativeCublasLt?> Loaded = new(Load);

    private readonly delegate* unmanaged<nuint> _getVersion;
    private readonly delegate* unmanaged<nint*, int> _create;
    private readonly delegate* unmanaged<nint, int> _destroy;
    private readonly delegate* unmanaged<int, byte*> _getStatusString;
    private readonly delegate* unmanaged<nint*, int, int, int> _matmulDescCreate;
    private readonly delegate* unmanaged<nint, int> _matmulDescDestroy;
    private readonly delegate* unmanaged<nint, int, void*, nuint, int> _matmulDescSetAttribute;
    private readonly delegate* unmanaged<nint*, int, ulong, ulong, long, int> _matrixLayoutCreate;
    private readonly delegate* unmanaged<nint, int> _matrixLayoutDestroy;
    private readonly delegate* unmanaged<nint*, int> _matmulPreferenceCreate;
    private readonly delegate* unmanaged<nint, int> _matmulPreferenceDestroy;
    private readonly delegate* unmanaged<nint, int, void*, nuint, int> _matmulPreferenceSetAttribute;
    private readonly delegate* unmanaged<nint, nint, nint, nint, nint, nint, nint, int, MatmulHeuristic*, int*, int> _matmulAlgoGetHeuristic;
    private readonly delegate* unmanaged<nint, nint, void*, nint, nint, nint, nint, void*, nint, nint, nint, nint, void*, nint, nuint, nint, int> _matmul;

    private NativeCublasLt(nint library)
    {
        nint Find(string name) => NativeLibrary.GetExport(library, name);
        _getVersion = (delegate* unmanaged<nuint>)Find("cublasLtGetVersion");
        _create = (delegate* unmanaged<nint*, int>)Find("cublasLtCreate");
        _destroy = (delegate* unmanaged<nint, int>)Find("cublasLtDestroy");
        _getStatusString = (delegate* unmanaged<int, byte*>)Find("cublasLtGetStatusString");
        _matmulDescCreate = (delegate* unmanaged<nint*, int, int, int>)Find("cublasLtMatmulDescCreate");
        _matmulDescDestroy = (delegate* unmanaged<nint, int>)Find("cublasLtMatmulDescDestroy");
        _matmulDescSetAttribute = (delegate* unmanaged<nint, int, void*, nuint, int>)Find("cublasLtMatmulDescSetAttribute");
        _matrixLayoutCreate = (delegate* unmanaged<nint*, int, ulong, ulong, long, int>)Find("cublasLtMatrixLayoutCreate");
        _matrixLayoutDestroy = (delegate* unmanaged<nint, int>)Find("cublasLtMatrixLayoutDestroy");
        _matmulPreferenceCreate = (delegate* unmanaged<nint*, int>)Find("cublasLtMatmulPreferenceCreate");
        _matmulPreferenceDestroy = (delegate* unmanaged<nint, int>)Find("cublasLtMatmulPreferenceDestroy");
        _matmulPreferenceSetAttribute = (delegate* unmanaged<nint, int, void*, nuint, int>)Find("cublasLtMatmulPreferenceSetAttribute");
        _matmulAlgoGetHeuristic = (delegate* unmanaged<nint, nint, nint, nint, nint, nint, nint, int, MatmulHeuristic*, int*, int>)Find("cublasLtMatmulAlgoGetHeuristic");
        _matmul = (delegate* unmanaged<nint, nint, void*, nint, nint, nint, nint, void*, nint, nint, nint, nint, void*, nint, nuint, nint, int>)Find("cublasLtMatmul");
    }

    /// <summary>The library, or null where the system's loader has none or it lacks a function.</summary>
    public static NativeCublasLt? Find() => Loaded.Value;

    public nuint GetVersion() => _getVersion();

    public int Create(nint* handle) => _create(handle);

    public int Destroy(nint handle) => _destroy(handle);

    public byte* GetStatusString(int status) => _getStatusString(status);

    public int MatmulDescCreate(nint* description, int computeType, int scaleType) => _matmulDescCreate(description, computeType, scaleType);

    public int MatmulDescDestroy(nint description) => _matmulDescDestroy(description);

    public int MatmulDescSetAttribute(nint description, int attribute, void* value, nuint bytes) => _matmulDescSetAttribute(description, attribute, value, bytes);

    public int MatrixLayoutCreate(nint* layout, int type, ulong rows, ulong columns, long leading) => _matrixLayoutCreate(layout, type, rows, columns, leading);

    public int MatrixLayoutDestroy(nint layout) => _matrixLayoutDestroy(layout);

    public int MatmulPreferenceCreate(nint* preference) => _matmulPreferenceCreate(preference);

    public int MatmulPreferenceDestroy(nint preference) => _matmulPreferenceDestroy(preference);

    public int MatmulPreferenceSetAttribute(nint preference, int attribute, void* value, nuint bytes) => _matmulPreferenceSetAttribute(preference, attribute, value, bytes);

    public int MatmulAlgoGetHeuristic(nint handle, nint description, nint a, nint b, nint c, nint d, nint preference, int wanted, MatmulHeuristic* results, int* found) =>
        _matmulAlgoGetHeuristic(handle, description, a, b, c, d, preference, wanted, results, found);

    public int Matmul(nint handle, nint description, void* alpha, nint a, nint layoutA, nint b, nint layoutB, void* beta, nint c, nint layoutC, nint d, nint layoutD, void* algorithm, nint workspace, nuint workspaceBytes, nint stream) =>
        _matmul(handle, description, alpha, a, layoutA, b, layoutB, beta, c, layoutC, d, layoutD, algorithm, workspace, workspaceBytes, stream);

    private static NativeCublasLt? Load()
    {
        foreach (string name in Names)
        {
            if (!NativeLibrary.TryLoad(name, out nint library)) continue;
            try
            {
                return new NativeCublasLt(library);
            }
            catch (EntryPointNotFoundException)
            {
                // A library from before CUDA 11.4; own kernels do.
                NativeLibrary.Free(library);
            }
        }
        return null;
    }
}
