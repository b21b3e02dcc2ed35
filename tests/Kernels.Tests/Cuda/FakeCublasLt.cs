using System.Runtime.InteropServices;
using Bellman.Kernels.Cuda.Libraries;

namespace Bellman.Kernels.Tests.Cuda;

/// <summary>A library made of loops over host memory: it multiplies what its descriptions say, by columns, and fails where it is told to.</summary>
internal sealed unsafe class FakeCublasLt : ICublasLt
{
    private readonly Dictionary<nint, Dictionary<int, long>> _descriptions = [];
    private readonly Dictionary<nint, (int Type, ulong Rows, ulong Columns, long Leading)> _layouts = [];
    private readonly Dictionary<nint, long> _preferences = [];
    private nint _next = 5000, _text;

    /// <summary>The method that fails, and with what.</summary>
    public string Failing { get; set; } = "";
    public int Status { get; set; } = 7;

    /// <summary>Whether the library knows an algorithm.</summary>
    public bool Knows { get; set; } = true;
    public int Multiplications { get; private set; }
    public int Heuristics { get; private set; }

    /// <summary>Descriptions, layouts and preferences that were made and not given back.</summary>
    public int Held => _descriptions.Count + _layouts.Count + _preferences.Count;

    private int Result(string method) => method == Failing ? Status : 0;

    public nuint GetVersion() => 120103;

    public int Create(nint* handle)
    {
        *handle = 1;
        return Result(nameof(Create));
    }

    public int Destroy(nint handle) => 0;

    public byte* GetStatusString(int status) => (byte*)(_text = _text == 0 ? Marshal.StringToCoTaskMemUTF8("CUBLAS_STATUS_FAKE") : _text);

    public int MatmulDescCreate(nint* description, int computeType, int scaleType)
    {
        if (computeType != 68 || scaleType != 0) return 7;
        _descriptions[*description = _next++] = [];
        return Result(nameof(MatmulDescCreate));
    }

    public int MatmulDescDestroy(nint description) => _descriptions.Remove(description) ? 0 : 7;

    public int MatmulDescSetAttribute(nint description, int attribute, void* value, nuint bytes)
    {
        _descriptions[description][attribute] = bytes == 4 ? *(int*)value : *(long*)value;
        return Result(nameof(MatmulDescSetAttribute));
    }

    public int MatrixLayoutCreate(nint* layout, int type, ulong rows, ulong columns, long leading)
    {
        if (leading < (long)rows) return 7;
        _layouts[*layout = _next++] = (type, rows, columns, leading);
        return 0;
    }

    public int MatrixLayoutDestroy(nint layout) => _layouts.Remove(layout) ? 0 : 7;

    public int MatmulPreferenceCreate(nint* preference)
    {
        _preferences[*preference = _next++] = 0;
        return 0;
    }

    public int MatmulPreferenceDestroy(nint preference) => _preferences.Remove(preference) ? 0 : 7;

    public int MatmulPreferenceSetAttribute(nint preference, int attribute, void* value, nuint bytes)
    {
        if (attribute == 1 && bytes == 8) _preferences[preference] = *(long*)value;
        return attribute == 1 || (attribute is >= 5 and <= 8 && bytes == 4 && *(int*)value is >= 2 and <= 256) ? 0 : 7;
    }

    public int MatmulAlgoGetHeuristic(nint handle, nint description, nint a, nint b, nint c, nint d, nint preference, int wanted, MatmulHeuristic* results, int* found)
    {
        Heuristics++;
        *found = Knows ? 1 : 0;
        results->Algorithm[0] = 77;
        results->WorkspaceBytes = (nuint)_preferences[preference];
        return Knows ? Result(nameof(MatmulAlgoGetHeuristic)) : 15;
    }

    public int Matmul(nint handle, nint description, void* alpha, nint a, nint layoutA, nint b, nint layoutB, void* beta, nint c, nint layoutC, nint d, nint layoutD, void* algorithm, nint workspace, nuint workspaceBytes, nint stream)
    {
        if (*(ulong*)algorithm != 77 || workspace == 0 || workspaceBytes != 32 << 20 || stream == 0) return 7;
        Multiplications++;
        Dictionary<int, long> attributes = _descriptions[description];
        bool turnA = attributes[3] == 1, turnB = attributes[4] == 1;
        (int type, ulong rows, ulong columns, long leading) = _layouts[layoutD];
        int depth = (int)(turnA ? _layouts[layoutA].Rows : _layouts[layoutA].Columns);
        if ((turnA ? _layouts[layoutA].Columns : _layouts[layoutA].Rows) != rows || (turnB ? _layouts[layoutB].Rows : _layouts[layoutB].Columns) != columns) return 7;
        float At(nint matrix, nint layout, long row, long column, bool turn) => (float)((BFloat16*)matrix)[turn ? column + row * _layouts[layout].Leading : row + column * _layouts[layout].Leading];
        for (long row = 0; row < (long)rows; row++)
            for (long column = 0; column < (long)columns; column++)
            {
                float sum = 0;
                for (int k = 0; k < depth; k++) sum += At(a, layoutA, row, k, turnA) * At(b, layoutB, k, column, turnB);
                if (attributes.GetValueOrDefault(7, 1) == 4) sum += (float)((BFloat16*)attributes[8])[row];
                long place = row + column * leading;
                if (*(float*)beta != 0) sum += type == 14 ? (float)((BFloat16*)c)[place] : ((float*)c)[place];
                if (type == 14) ((BFloat16*)d)[place] = (BFloat16)sum;
                else ((float*)d)[place] = sum;
            }
        return Result(nameof(Matmul));
    }
}
