%%% @doc What Python raised, as it came over the wire, as an error of its kind.
%%% @private
-module(py_exception).

-export([from_python/1]).

%% As far as it is looked at: a class of ours with anything else was made up.
-define(IS_TEXT(Text), (is_list(Text) orelse is_binary(Text))).

%% @doc A Python exception as an error of its kind: what the bridge's own Python raises is the bridge's.
-spec from_python(term()) -> py_error:python_error() | py_error:erlang_error() | {py, py_error:reason()} | term().
from_python({python, 'erl.errors.EncodeError', Text, _}) when ?IS_TEXT(Text) -> {py, {encode, Text}};
from_python({python, 'erl.errors.DecodeError', Text, _}) when ?IS_TEXT(Text) -> {py, {decode, Text}};
from_python({python, 'erl.errors.SharedMemoryError', Text, _}) when ?IS_TEXT(Text) -> {py, {shared_memory, Text}};
from_python({python, 'erl.errors.ElsewhereError', Text, _}) when ?IS_TEXT(Text) -> {py, {elsewhere, Text}};
from_python({python, 'erl.errors.NoSharedMemoryError', Text, _}) when ?IS_TEXT(Text) -> {py, {no_shared_memory, Text}};
from_python({python, 'erl.errors.StaleReferenceError', Text, _}) when ?IS_TEXT(Text) -> {py, {stale_reference, Text}};
from_python({erlang, {'$erlport.opaque', erlang, Bytes}} = Error) when is_binary(Bytes) ->
    case py_atoms:decode(Bytes) of
        {ok, {Class, Reason, Stack}} -> {erlang, Class, Reason, Stack};
        _ -> Error
    end;
from_python(Error) -> Error.
